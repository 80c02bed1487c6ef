"""What of its numbers a client sends in a round. One file each; a plug-in of kind `sending`."""

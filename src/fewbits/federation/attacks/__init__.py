"""What malicious clients send in place of their update. One file each; a plug-in of kind `attack`."""

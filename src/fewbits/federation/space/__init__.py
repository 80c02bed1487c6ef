"""Update spaces: what changes of the model a client may make in a round. One file each; a plug-in of kind `space`."""

"""Terms of the local objective that rest on the rows' representations. One file each; a plug-in of kind `term`."""

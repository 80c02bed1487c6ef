"""How the server makes one update of a cohort's. One file each; a plug-in of kind `aggregation`."""

"""One file a driver. The list is here, in the open: nothing registers itself."""

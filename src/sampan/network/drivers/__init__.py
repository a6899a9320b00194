"""One file a driver; the list of those that come with sampan is ``network.builtin``."""

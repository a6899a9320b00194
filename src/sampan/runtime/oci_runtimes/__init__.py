"""OCI runtimes: the programs that make a container's process. ``contract`` says what one is."""

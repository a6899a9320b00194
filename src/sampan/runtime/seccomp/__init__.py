"""The system call filter of a container."""

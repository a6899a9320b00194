"""Log drivers: where the lines of a container go. ``contract`` says what one is; one file each."""

"""A driver of each kind, the smallest that does its work: an example to begin with, and the proof
that a driver is one file and one line."""

"""Births, ends, restarts and rollouts of tasks; their history; the watch over nodes."""

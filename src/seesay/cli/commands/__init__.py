"""One file per command that is not generated from a task."""

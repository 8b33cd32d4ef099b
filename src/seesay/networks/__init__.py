"""One file per network that has its own paper. Nothing here knows which model uses it."""

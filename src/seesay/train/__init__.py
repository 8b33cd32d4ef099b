"""Training: objectives, optimisers and the loop. Needs nothing beyond the core packages."""

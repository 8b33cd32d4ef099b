"""The maths that networks are made of: attention, feed-forward, norms, blocks, masks."""

"""Speed against the peers, side by side in one process. `python -m benchmarks.run`."""

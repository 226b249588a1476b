"""Benchmarks: ours and the peers' in turn, in one run, on equal threads. `python -m benchmarks --help`."""

"""Benchmarks: ours and the peers' in turn, in one run, on equal threads. docs/benchmarks.md says how and why."""

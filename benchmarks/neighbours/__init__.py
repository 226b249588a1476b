"""Threads beside other people's: what a call takes right after, or beside, somebody else's work, over the call alone.

`python -m benchmarks.neighbours [--quick]`; docs/benchmarks.md says how, docs/threads.md what it means for users.
Victims are ours, PyTorch and ONNX Runtime; neighbours are their and NumPy's products, and busy processes. Each victim,
on each number of threads and beside each neighbour, has a process of its own, which imports only what those two need.
"""

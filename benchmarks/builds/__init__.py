"""Two builds of rnnkernels beside each other: their bits, their speed, and what a build costs.

`python -m benchmarks.builds [speed] BEFORE AFTER`, `... bits BEFORE AFTER`, `... cost SOURCE`; docs/benchmarks.md says
how. A build is a folder that holds an importable `rnnkernels`, or a virtual environment. Only the package's public
functions are called, so the builds may be of any version.
"""

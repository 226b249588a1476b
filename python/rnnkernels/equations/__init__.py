"""Cells from equations: five lines of Python, run by the engines of the built-in cells.

`graph` holds a cell's equations as a graph, `operations` what each operation computes.
"""

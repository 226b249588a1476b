"""Every system of the lecture as a program: `python -m examples` lists them, README.md has their figures.

A module with a function `run` is an example; `figures.py` says what it returns, `catalogue.py` how it is found.
"""

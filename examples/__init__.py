"""The systems of a lecture on recurrent networks as programs: `python -m examples` lists them, README.md has figures.

A module with a function `run` is an example; `figures.py` says what it returns, `catalogue.py` how it is found.
"""

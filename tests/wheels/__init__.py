"""A wheel as it would be shipped: what is in it (`audit`), and whether it serves where nothing compiles (`bare`).

`python -m tests.wheels WHEEL ...` does both; `./check wheel` builds one first. The tests here are those of the
checks themselves, and hold the recipes of a release to each other: they need no wheel.
"""

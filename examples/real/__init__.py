"""Programs that people ship, as they are and on these kernels: `python -m examples.real` lists them.

README.md has figures. Each module with `PACKAGES` is a program;
`environment.py` says where it runs, `compare.py` what it prints.
"""

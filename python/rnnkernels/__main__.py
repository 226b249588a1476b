"""`python -m rnnkernels`: the command line without the installed script."""

from rnnkernels.cli import main

if __name__ == "__main__":
    raise SystemExit(main())

"""How many instructions a few kernels execute: a number that does not change from run to run."""

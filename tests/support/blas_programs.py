"""Programs that multiply on shared threads, each in a process of its own. Not here: what they are to print."""

from __future__ import annotations

import os
import subprocess
import sys

import rnnkernels as rk

BEGIN = """
import os, signal, sys, threading, time, warnings
warnings.simplefilter("ignore")  # of forks beside threads
import numpy as np

def tasks():
    return {int(task) for task in os.listdir("/proc/self/task")}

own = tasks() - {os.getpid()}  # NumPy's

import rnnkernels as rk
from rnnkernels import _cpu

for number in range(len(_cpu.blas())):
    _cpu.set_blas_threads(number, 2)
own |= tasks() - {os.getpid()}
rk.set_num_threads(2)
params = rk.init_params("lstm", 8, 96, rng=0)
x = np.random.default_rng(0).standard_normal((40, 8, 8), dtype=np.float32)
a = np.random.default_rng(0).standard_normal((300, 300))

def product():
    return (a @ a).tobytes()

def kernel():
    return rk.forward("lstm", x, params).output.tobytes()

def both():
    return product() == of_product and kernel() == of_kernel

of_product, of_kernel = product(), kernel()

def ticks(tasks):  # of a processor's time, 10 ms each
    spent = 0
    for task in tasks:
        with open(f"/proc/self/task/{task}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        spent += int(fields[11]) + int(fields[12])
    return spent
"""


def said(code: str, **environment: str) -> list[str]:
    """Run code after BEGIN in a process of its own; what it printed."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("RNNKERNELS_")}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN + code],
        env=variables | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def can_share() -> bool:
    """Whether this process has an OpenBLAS that can be shared; it is not, afterwards."""
    names = rk.share_blas()
    rk.unshare_blas()
    return bool(names)

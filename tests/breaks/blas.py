"""Breaks of NumPy's OpenBLAS on our threads."""

from .record import CPU, NOTHING, Break

SHARED = "csrc/cpu/shared_blas.cpp"
TESTS = "tests/cpu/test_shared_blas.py"
PROCESS = "tests/cpu/test_shared_blas_process.py"

BREAKS = [
    Break(
        "blas: calls at the same time have the same places",
        SHARED,
        "std::uint64_t free = all & ~taken;",
        "std::uint64_t free = all;",
        f"{TESTS} -k several_python_threads",
        CPU,
    ),
    Break(
        "blas: jobs flush denormals on our workers",
        SHARED,
        "    const Arithmetic::Here as_the_caller(call.arithmetic);\n",
        "",
        f"{TESTS} -k denormals",
        CPU,
    ),
    Break(
        "blas: what the caller's job raises is taken back",
        SHARED,
        "if (number == 0) return call.run(0);",
        "if (number < 0) return call.run(0);",
        f"{TESTS} -k overflow",
        CPU,
    ),
    Break(
        "blas: unshared stays shared",
        SHARED,
        "one.shared.store(false);",
        "one.shared.store(one.shared.load());",
        f"{PROCESS} -k unshared",
        CPU,
    ),
    Break(
        "blas: an OpenBLAS is found, and left alone",
        SHARED,
        "one.library.set_callback(ours.callback);",
        "one.shared.store(true);",
        f"{PROCESS} -k idle",
        CPU,
    ),
    Break(
        "blas: a fork does not wait for products",
        SHARED,
        "        forks_.fetch_add(1);\n        wait_until([this] { return taken_.load() == 0; });",
        "        forks_.fetch_add(1);",
        f"{PROCESS} -k forks_while",
        CPU,
    ),
    Break(
        "blas: calls behind a fork take any place",
        SHARED,
        "if (call.places != 0 && forked.lately()) {",
        "if (call.places != 0 && false) {",
        f"{PROCESS} -k held_up",
        CPU,
    ),
    Break(
        "blas: jobs begin on fewer workers than there are jobs",
        "csrc/cpu/pool.cpp",
        "if (!turn.mine() || lent_ || start_workers(jobs - 1) < jobs - 1) return false;",
        "if (!turn.mine() || lent_ || start_workers(jobs - 1) > jobs) return false;",
        f"{PROCESS} -k refuses",
        CPU,
    ),
    Break(
        "blas: shared in any first call",
        "csrc/cpu/select.cpp",
        "if (threads > 1) cpu::share_blas_if_due();",
        "cpu::share_blas_if_due();",
        f"{TESTS} -k environment",
        CPU,
    ),
    Break(
        "blas: 0 shares",
        "python/rnnkernels/_runtime.py",
        'text == "1" if text',
        'text != "" if text',
        f"{TESTS} -k environment",
        NOTHING,
    ),
    Break(
        "blas: the character model lets OpenBLAS have its threads",
        "python/rnnkernels/charlm/blas.py",
        "_cpu.set_blas_threads(number, 1)",
        "_cpu.set_blas_threads(number, 2)",
        f"{TESTS} -k character_model",
        NOTHING,
    ),
]

"""Breaks of how many threads a call uses, and of who is named for it."""

from .record import CPU, Break

P = "python/rnnkernels"
LIMITS = "csrc/cpu/thread_limits.cpp"
NUMPY = "tests/cpu/test_thread_limits.py"
TORCH = "tests/torch/test_torch_threads.py"

BREAKS = [
    Break(
        "thread counts: no call asks for its limits",
        "csrc/cpu/threads.cpp",
        "        threads = threads_for_call(threads);\n",
        "        if (threads > 2) threads = 2;\n",
        f"{NUMPY} -k affinity_that_changes",
        CPU,
    ),
    Break(
        "thread counts: limits are asked where OpenMP's threads serve",
        "csrc/cpu/threads.cpp",
        "        threads = threads_for_call(threads);\n",
        "        threads = openmp.load() != nullptr ? threads_for_call(threads) : threads > 2 ? 2 : threads;\n",
        f"{TORCH} -k worker",
        CPU,
    ),
    Break(
        "thread counts: the affinity is that of the first call",
        LIMITS,
        "const int processors = usable_processors();",
        "static const int processors = usable_processors();",
        f"{NUMPY} -k affinity_that_changes",
        CPU,
    ),
    Break(
        "thread counts: the affinity is the main thread's",
        LIMITS,
        "syscall(SYS_sched_getaffinity, 0, sizeof mask, mask)",
        "syscall(SYS_sched_getaffinity, getpid(), sizeof mask, mask)",
        f"{NUMPY} -k calling_threads",
        CPU,
    ),
    Break(
        "thread counts: a setting goes beyond the process's bound",
        LIMITS,
        "(set > most && !beyond.load(std::memory_order_relaxed))",
        "false",
        f"{NUMPY} -k keep_to_the_environment",
        CPU,
    ),
    Break(
        "thread counts: PyTorch is not asked",
        LIMITS,
        "if (ask != nullptr) threads = least(threads, ask());",
        "(void)ask;",
        f"{TORCH} -k next_call",
        CPU,
    ),
    Break(
        "thread counts: OpenMP's number for a thread stands for PyTorch's",
        "csrc/cpu/threads.cpp",
        '"libtorch_cpu.so", "_ZN2at15get_num_threadsEv"',
        '"libgomp.so.1", "omp_get_max_threads"',
        f"{TORCH} -k never_asked",
        CPU,
    ),
    Break(
        "thread counts: OpenMP's variable bounds nothing",
        f"{P}/_threads.py",
        "    of_process = list(_environment)\n",
        "    of_process: list[Limit] = []\n",
        f"{NUMPY} tests/jax/test_jax_threads.py -k keep",
    ),
    Break(
        "thread counts: a list of numbers is not understood",
        f"{P}/_threads.py",
        '.partition(",")[0].strip()',
        ".strip()",
        f"{NUMPY} -k first_number",
    ),
    Break(
        "thread counts: OpenMP's variables are taken by the letter",
        f"{P}/_threads.py",
        " and int(text) > 0:",
        ":",
        f"{NUMPY} -k not_understand",
    ),
    Break(
        "thread counts: the quota is named, and bounds nothing",
        f"{P}/_threads.py",
        "*(limit.threads for limit in of_process)",
        "*(limit.threads for limit in _environment)",
        f"{NUMPY} -k quota",
    ),
    Break(
        "thread counts: the own setting is not named",
        f"{P}/_threads.py",
        "found = [] if _own is None else [_own]",
        "found: list[Limit] = []",
        f"{NUMPY} -k equals",
    ),
    Break(
        "thread counts: info names the number alone",
        f"{P}/cli.py",
        "{threads} ({source})",
        "{threads}",
        f"{NUMPY} -k info",
    ),
]

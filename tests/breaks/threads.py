"""Breaks of how threads meet, part, wake, stop and fork: what `./check threads` should notice."""

from .record import STRESS, TSAN, Break

THREADS = "csrc/cpu/threads.cpp"


def _stress(what: str) -> str:
    return f"--seconds 60 --seed 1 --work 1000000 --what {what}"


BREAKS = [
    # ---- what is written before is seen behind: on x86 only ThreadSanitizer notices
    Break(
        "threads: a meeting ends without a release",
        THREADS,
        "__atomic_store_n(&generation, now + 1, __ATOMIC_RELEASE);",
        "__atomic_store_n(&generation, now + 1, __ATOMIC_RELAXED);",
        _stress("calls"),
        TSAN,
    ),
    Break(
        "threads: a thread comes to a meeting without a release",
        THREADS,
        "__atomic_add_fetch(&waiting, 1, __ATOMIC_ACQ_REL)",
        "__atomic_add_fetch(&waiting, 1, __ATOMIC_RELAXED)",
        _stress("calls"),
        TSAN,
    ),
    Break(
        "threads: progress is published without a release",
        THREADS,
        "__atomic_store_n(&done, count, __ATOMIC_RELEASE);",
        "__atomic_store_n(&done, count, __ATOMIC_RELAXED);",
        _stress("calls"),
        TSAN,
    ),
    Break(
        "threads: a worker ends its task without a release",
        THREADS,
        "            running_.fetch_sub(1, std::memory_order_release);",
        "            running_.fetch_sub(1, std::memory_order_relaxed);",
        _stress("calls"),
        TSAN,
    ),
    Break(
        "threads: the pool is given back without a release",
        THREADS,
        "if (mine_) taken_.store(false, std::memory_order_release);",
        "if (mine_) taken_.store(false, std::memory_order_relaxed);",
        _stress("callers"),
        TSAN,
    ),
    Break(
        "threads: a slot is written that another thread's product reads",
        "csrc/passes/phases.h",
        "at.store_d_of_gates(d);",
        "at.store_d(d);",
        _stress("calls"),
        TSAN,
    ),
    Break(
        "threads: whoever sees the flag asks",
        THREADS,
        "== Watch::kAsk && watch.asker == this_thread()) {",
        "== Watch::kAsk) {",
        _stress("stop"),
        TSAN,
    ),
    # ---- the order of things
    Break(
        "threads: the call is signalled before its task stands",
        THREADS,
        "        task_ = task;\n        context_ = context;\n        processor_ = current_processor();\n",
        "        signal_.store(((signal_.load() >> 16) + 1) << 16 | static_cast<std::uint64_t>(threads));\n"
        "        task_ = task;\n        context_ = context;\n        processor_ = current_processor();\n        if (false)\n",
        _stress("calls"),
        STRESS,
    ),
    Break(
        "threads: a meeting ends one short",
        THREADS,
        "__ATOMIC_ACQ_REL) == size) {",
        "__ATOMIC_ACQ_REL) >= size - (size > 2 ? 1 : 0)) {",
        _stress("calls"),
        STRESS,
    ),
    Break(
        "threads: a call ends before its last worker",
        THREADS,
        "running.load(std::memory_order_acquire) > 0; ++spins",
        "running.load(std::memory_order_acquire) > 1; ++spins",
        _stress("calls"),
        STRESS,
    ),
    Break(
        "threads: nobody wakes those who sleep",
        THREADS,
        "if (sleepers_.load(std::memory_order_seq_cst) > 0) {",
        "if (sleepers_.load(std::memory_order_seq_cst) > 64) {",
        _stress("calls"),
        STRESS,
    ),
    Break(
        "threads: two callers have the pool",
        THREADS,
        "        if (!turn.mine()) return false;\n        threads = start",
        "        threads = start",
        _stress("callers"),
        STRESS,
    ),
    # ---- stopped and forked
    Break(
        "threads: a stopped call leaves while others work",
        THREADS,
        "for (int spins = 0; running.load(std::memory_order_acquire) > 0; ++spins) {",
        "for (int spins = 0; finished && running.load(std::memory_order_acquire) > 0; ++spins) {",
        _stress("stop"),
        STRESS,
    ),
    Break(
        "threads: who waits for others does not look",
        THREADS,
        "__ATOMIC_ACQUIRE) == now; ++spins) {\n        relax(spins);\n        look(watch);",
        "__ATOMIC_ACQUIRE) == now; ++spins) {\n        relax(spins);",
        _stress("stop"),
        STRESS,
    ),
    Break(
        "threads: a child keeps its parent's pool",
        THREADS,
        "    pool.store(nullptr);\n",
        "",
        _stress("fork"),
        STRESS,
    ),
    Break(
        "threads: a fork catches the memory's lock",
        "csrc/cpu/workspace.cpp",
        "pthread_atfork([] { idle().mutex.lock(); }, [] { idle().mutex.unlock(); }, [] { idle().mutex.unlock(); });",
        "pthread_atfork([] {}, [] {}, [] {});",
        _stress("fork"),
        STRESS,
    ),
]

"""Breaks of how threads share, join, leave, stop and fork: what `./check threads` should notice."""

from .record import STRESS, TSAN, Break

CLAIMS = "csrc/cpu/claims.cpp"
CREW = "csrc/cpu/crew.cpp"


def _stress(what: str) -> str:
    return f"--seconds 60 --seed 1 --work 1000000 --what {what}"


BREAKS = [
    # ---- what is written before is seen behind: on x86 only ThreadSanitizer notices
    Break(
        "threads: a piece is done without a release",
        CLAIMS,
        "                     __ATOMIC_RELEASE);",
        "                     __ATOMIC_RELAXED);",
        _stress("calls"),
        TSAN,
    ),
    Break(
        "threads: a piece of a wavefront is done without a release",
        "csrc/cpu/wavefront.h",
        "piece.phase, __ATOMIC_RELEASE);",
        "piece.phase, __ATOMIC_RELAXED);",
        _stress("calls"),
        TSAN,
    ),
    Break(
        "threads: a thread leaves a call without a release",
        CREW,
        "door_.fetch_sub(1, std::memory_order_release);",
        "door_.fetch_sub(1, std::memory_order_relaxed);",
        _stress("calls"),
        TSAN,
    ),
    Break(
        "threads: the pool is given back without a release",
        "csrc/cpu/crew.h",
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
        CREW,
        "== Watch::kAsk && watch.asker == this_thread()) {",
        "== Watch::kAsk) {",
        _stress("stop"),
        TSAN,
    ),
    # ---- the order of things
    Break(
        "threads: a piece is done twice",
        CLAIMS,
        "    return last < member_.phase &&",
        "    return last < member_.phase ||",
        _stress("calls"),
        STRESS,
    ),
    Break(
        "threads: a phase ends before its last piece",
        CLAIMS,
        "        if (!all && taken < 0) wait_turn(member_, wait);",
        "        if (!all && taken < 0 && wait.turns > 3) break;\n"
        "        if (!all && taken < 0) wait_turn(member_, wait);",
        _stress("calls"),
        STRESS,
    ),
    Break(
        "threads: the phases of the second row group are behind those of the first",
        "csrc/cpu/claims.h",
        "            member_.phase = phase;\n",
        "",
        _stress("calls"),
        STRESS,
    ),
    Break(
        "threads: a layer of a wavefront does not wait for the one below",
        "csrc/cpu/wavefront.h",
        "if (layer > 0 && phase > 1 && done(layer - 1) < phase) continue;",
        "",
        _stress("calls"),
        STRESS,
    ),
    Break(
        "threads: a call ends while somebody is in it",
        CREW,
        "(door_.load(std::memory_order_acquire) & kInside) != 0; ++spins",
        "(door_.load(std::memory_order_acquire) & kInside) > 1; ++spins",
        _stress("calls"),
        STRESS,
    ),
    Break(
        "threads: a closed call is joined",
        CREW,
        "        if (door >> 32 != call || (door & kClosed) != 0) return false;\n    } while",
        "        if (door >> 32 != call) return false;\n    } while",
        _stress("calls"),
        STRESS,
    ),
    Break(
        "threads: two callers have the pool",
        "csrc/cpu/pool.cpp",
        "    if (!turn.mine() || crew_.has_break()) return false;",
        "    if (crew_.has_break()) return false;",
        _stress("callers"),
        STRESS,
    ),
    # ---- stopped and forked
    Break(
        "threads: a stopped call leaves while others work",
        CREW,
        "for (long long spins = 0; (door_",
        "for (long long spins = 0; goes_on(*watch_) && (door_",
        _stress("stop"),
        STRESS,
    ),
    Break(
        "threads: who waits for others does not look",
        CREW,
        "    look(watch_);\n",
        "",
        _stress("stop"),
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

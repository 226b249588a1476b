"""Breaks of how a call and its process get on: Ctrl-C, ends of programs, memory, copies."""

from .record import CPU, NOTHING, Break

P = "python/rnnkernels"

BREAKS = [
    Break(
        "process: nobody asks for signals",
        "csrc/binding/watched.cpp",
        "if (watched_ && number_ == seen) {",
        "if (false) {",
        "tests/cpu/test_process.py -k ctrl_c",
        CPU,
    ),
    Break(
        "process: only meetings are looked at",
        "csrc/cpu/geometry.h",
        "if (last < rows.count) cpu::look(watch);",
        "(void)watch;",
        "tests/cpu/test_process.py -k ctrl_c",
        CPU,
    ),
    Break(
        "process: a handler calculates without denormals",
        "csrc/cpu/crew.cpp",
        "const FlushDenormals as_usual(false);",
        "const FlushDenormals as_usual(true);",
        "tests/cpu/test_process.py -k handler",
        CPU,
    ),
    Break(
        "process: a stopped step leaves what it wrote",
        "csrc/binding/prepared.cpp",
        "            put_states(from);\n            throw;",
        "            static_cast<char*>(call_.final_state[0])[0] += static_cast<char>(from != nullptr);\n            throw;",
        "tests/cpu/test_process.py -k step",
        CPU,
    ),
    Break(
        "process: a daemon thread is unwound",
        "csrc/binding/released.cpp",
        "for (;;) std::this_thread::sleep_for(std::chrono::hours(1));",
        "throw;",
        "tests/cpu/test_process.py -k daemon",
        CPU,
    ),
    Break(
        "process: a new object holds what pybind11 frees too",
        "csrc/binding/calls.cpp",
        "Reserve& kept = make_owned<Reserve>(made.reserve);",
        "auto whole = std::make_unique<Reserve>();\n        Reserve& kept = *whole;\n"
        "        made.reserve = py::cast(std::move(whole));",
        "tests/cpu/test_process.py -k allocation",
        CPU,
    ),
    Break(
        "process: a forward walks steps without rows",
        "csrc/cpu/engine.cpp",
        "    if (call.in.shape.batch == 0) return;  // steps",
        "    // steps",
        "tests/cpu/test_process.py -k empty",
        CPU,
    ),
    Break(
        "norms: a vanishing gradient's squares are summed as they are",
        "csrc/recurrence/norm.h",
        "if (plain < S::least) return",
        "if (plain < 0) return",
        "tests/kernels/test_states.py",
        CPU,
    ),
    Break(
        "norms: an exploding gradient's squares are summed as they are",
        "csrc/recurrence/norm.h",
        "if (plain > S::most) return",
        "if (plain < 0) return",
        "tests/kernels/test_states.py",
        CPU,
    ),
    Break(
        "copies: a stepper's copy begins with zeros",
        f"{P}/prepared.py",
        "(self.layer, self.batch_size, self.state)",
        "(self.layer, self.batch_size)",
        "tests/python/test_copies.py",
        NOTHING,
    ),
    Break(
        "copies: a reserve is read by the set in use",
        f"{P}/_pickled.py",
        "return _cpu.copy_reserve(memory, instruction_set)",
        "return _cpu.copy_reserve(memory, _cpu.instruction_set())",
        "tests/python/test_copies.py",
        NOTHING,
    ),
    Break(
        "copies: a pickle forgets the settings",
        f"{P}/prepared.py",
        "self.tokens, self._settings, self.noise, packed)",
        "self.tokens, (), self.noise, packed)",
        "tests/python/test_copies.py",
        NOTHING,
    ),
]

"""Breaks of what a release is made of: processors that are asked, threads that share, what a wheel may hold."""

from .record import CPU, NATIVE, Break

SHARED = "tests/python/test_shared_by_threads.py"
RECIPES = "tests/wheels/test_recipes.py"
AUDIT = "tests/wheels/test_audit.py"

BREAKS = [
    # ---- processors
    Break(
        "features: a processor's AVX-512 for bfloat16 is not seen",
        "csrc/cpu/features.cpp",
        "has_all(ask(7, 1).eax, 1U << 5)",
        "has_all(ask(7, 1).eax, 1U << 6)",
        "",
        NATIVE,
    ),
    # ---- threads
    Break(
        "shared by threads: two are let into one stepper",
        "csrc/binding/prepared_checks.h",
        "if (busy_.exchange(true))",
        "if (busy_.exchange(true) && false)",
        f"{SHARED} -k of_a_stepper",
        CPU,
    ),
    Break(
        "shared by threads: a second one gets into the step of a stack",
        "python/rnnkernels/prepared_stack.py",
        "        if not alone.enter(False):",
        "        if not alone.enter(False) and False:",
        f"{SHARED} -k of_a_stack",
    ),
    Break(
        "shared by threads: two are let into one step of attention",
        "python/rnnkernels/_alone.py",
        "if not self.enter(False):",
        "if not self.enter(False) and False:",
        f"{SHARED} -k attention",
    ),
    Break(
        "shared by threads: a copy of an attention's stepper has no lock",
        "python/rnnkernels/attention/stepper.py",
        "self.__dict__.update(state, _alone=Alone())",
        "self.__dict__.update(state)",
        f"{SHARED} -k attention",
    ),
    Break(
        "shared by threads: cells are listed out of the table that others fill",
        "python/rnnkernels/parameters.py",
        "return dict(_tables)",
        "return _tables",
        f"{SHARED} -k cells_made",
    ),
    # ---- wheels
    Break(
        "wheels: no wheel for Python 3.12",
        "pyproject.toml",
        '"cp311-*", "cp312-*", "cp313-*"',
        '"cp311-*", "cp313-*"',
        RECIPES,
    ),
    Break(
        "wheels: a module that asks for the GIL",
        "csrc/binding/host_module.cpp",
        "(RNNKERNELS_MODULE, m, pybind11::mod_gil_not_used())",
        "(RNNKERNELS_MODULE, m)",
        RECIPES,
    ),
    Break(
        "wheels: a module that exports the standard library's templates",
        "cmake/exports.map",
        "  local: *;",
        "  local: none;",
        RECIPES,
    ),
    Break(
        "wheels: weak symbols are no exports",
        "tests/wheels/elf.py",
        "_EXPORTED = {1, 2, 10}",
        "_EXPORTED = {1, 10}",
        AUDIT,
    ),
    Break(
        "wheels: only the older kind of search path is found",
        "tests/wheels/elf.py",
        "elif tag in (_RPATH, _RUNPATH):",
        "elif tag == _RPATH:",
        AUDIT,
    ),
]

"""Breaks of layers and directions that run side by side on a GPU, emulated in random orders."""

from .record import EMULATED, Break

TESTS = "tests/cuda/test_cuda_overlap.py"

BREAKS = [
    Break(
        "overlap: a layer's piece waits for nobody",
        "csrc/cuda/together.cpp",
        "if (part.after >= 0) sides.wait(side, part.after);",
        "",
        TESTS,
        EMULATED,
    ),
    Break(
        "overlap: a layer's piece waits for the first piece below",
        "csrc/cuda/overlap.cpp",
        "part.after = needed[static_cast<std::size_t>(turn.number)];",
        "part.after = needed.front();",
        TESTS,
        EMULATED,
    ),
    Break(
        "overlap: streams do not begin behind the caller's",
        "csrc/cuda/together.cpp",
        "sides.wait(sides.stream(i), begun);",
        "(void)begun;",
        TESTS,
        EMULATED,
    ),
    Break(
        "overlap: the caller's stream does not wait for the others",
        "csrc/cuda/together.cpp",
        "sides_.wait(stream_, first_event_ + i);",
        "(void)stream_;",
        TESTS,
        EMULATED,
    ),
    Break(
        "overlap: a piece is over before it has run",
        "csrc/cuda/together.cpp",
        "if (part.begins) call->begin();",
        "if (waited[static_cast<std::size_t>(i)]) sides.record(i, side);\n        if (part.begins) call->begin();",
        TESTS,
        EMULATED,
    ),
    Break(
        "overlap: dx of a piece is that of the chunk's first rows",
        "csrc/cuda/weight_gradients.h",
        "offset(gradient_, storage_, (begin - chunk_row_) * columns_);",
        "offset(gradient_, storage_, 0 * columns_);",
        TESTS,
        EMULATED,
    ),
    Break(
        "overlap: weight gradients are summed by pieces",
        "csrc/cuda/backward.h",
        "chunk_first_ = rows_.chunk_begin(end, chunk_), chunk_last_ = end;",
        "chunk_first_ = first, chunk_last_ = end;",
        TESTS,
        EMULATED,
    ),
    Break(
        "overlap: the last chunk's weight gradients are left out",
        "csrc/cuda/backward.h",
        "    void finish_pieces() {\n        close_chunk();",
        "    void finish_pieces() {",
        TESTS,
        EMULATED,
    ),
    Break(
        "overlap: clusters of the second direction are counted with the first's",
        "csrc/cuda/resident/pair.h",
        "return {1, cluster - clusters_of_first};",
        "return {1, cluster};",
        TESTS,
        EMULATED,
    ),
    Break(
        "overlap: both directions run the first's steps",
        "csrc/cuda/resident/pair.h",
        "return {1, cluster - clusters_of_first};",
        "return {0, cluster - clusters_of_first};",
        TESTS,
        EMULATED,
    ),
    Break(
        "overlap: layers with something between them are put together",
        "python/rnnkernels/stack.py",
        "single = self.num_directions == 1 and run._seed is None and d_outputs is None",
        "single = self.num_directions == 1",
        TESTS,
        EMULATED,
    ),
]

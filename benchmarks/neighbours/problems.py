"""What the victims calculate: a cell at a shape (T, B, I, H), inference or training."""

from __future__ import annotations

from benchmarks.shapes import Shape

Problem = tuple[str, str, Shape]  # cell, mode, shape

PROBLEMS: tuple[Problem, ...] = (
    ("lstm", "inference", (50, 8, 300, 640)),
    ("lstm", "inference", (80, 1, 200, 320)),
    ("lstm", "inference", (60, 24, 96, 160)),
    ("lstm", "inference", (100, 1, 128, 128)),
    ("lstm", "inference", (50, 4, 256, 256)),
    ("lstm", "inference", (50, 32, 128, 256)),
    ("lstm", "inference", (50, 64, 64, 64)),
    ("gru", "inference", (80, 1, 200, 320)),
    ("gru", "inference", (60, 24, 96, 160)),
    ("gru", "inference", (100, 1, 128, 128)),
    ("gru", "inference", (50, 4, 256, 256)),
    ("gru", "inference", (50, 64, 128, 256)),
    ("rnn_tanh", "inference", (100, 1, 128, 128)),
    ("rnn_tanh", "inference", (50, 4, 256, 256)),
    ("rnn_tanh", "inference", (50, 8, 300, 640)),
    ("lstm", "training", (50, 32, 128, 256)),
    ("gru", "training", (60, 24, 96, 160)),
    ("rnn_tanh", "training", (50, 4, 256, 256)),
)

QUICK: tuple[Problem, ...] = (
    ("lstm", "inference", (50, 8, 300, 640)),
    ("lstm", "inference", (80, 1, 200, 320)),
    ("gru", "inference", (60, 24, 96, 160)),
    ("rnn_tanh", "inference", (100, 1, 128, 128)),
    ("lstm", "inference", (50, 4, 256, 256)),
    ("lstm", "training", (50, 32, 128, 256)),
)


def text(problem: Problem) -> str:
    cell, mode, shape = problem
    return f"{cell:8} {mode:9} {' '.join(f'{name}{size}' for name, size in zip('TBIH', shape, strict=True)):20}"

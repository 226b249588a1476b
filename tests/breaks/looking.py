"""Breaks of what the examples that look ask for, and of what they take for the truth."""

from .record import Break

SEEN = "tests/examples/test_seen.py"

BREAKS = [
    Break(
        "examples: an object stands in another row than the truth says",
        "examples/scenes.py",
        "transpose(0, 3, 1, 4, 2, 5)",
        "transpose(0, 3, 2, 4, 1, 5)",
        SEEN,
    ),
    Break(
        "examples: a caption may name an object twice",
        "examples/captions.py",
        "set(objects) if well and len(set(objects)) == len(objects) else None",
        "set(objects) if well else None",
        SEEN,
    ),
    Break(
        "examples: an answer counts as right that is not",
        "examples/vqa.py",
        "(choices == answer[:, None]).argmax(1)",
        "(choices == answer[:, None]).argmin(1)",
        SEEN,
    ),
    Break(
        "examples: dates that are asked for are learnt from",
        "examples/seq2seq.py",
        "days[(days % 10 == 0) == fresh][:count]",
        "days[:count]",
        SEEN,
    ),
]

"""Breaks of the examples' house, and of what the examples would be the ones to show."""

from .record import Break

E = "examples"
P = "python/rnnkernels"
HOUSE = "tests/examples/test_examples.py -k 'not test_quick_run'"
REAL = "tests/examples/test_real.py"

BREAKS = [
    # ---- the house
    Break(
        "examples: a row is met when one of its figures is",
        f"{E}/index.py",
        "not all(figure.ok for figure in figures)",
        "not any(figure.ok for figure in figures)",
        HOUSE,
    ),
    Break(
        "examples: a row is met by those of its examples that were run",
        f"{E}/index.py",
        "if not figures or len(runs) < len(here):",
        "if not figures:",
        HOUSE,
    ),
    Break(
        "examples: a run with an error counts as good",
        f"{E}/catalogue.py",
        "return not self.error and len(self.figures) > 0 and all(",
        "return all(",
        HOUSE,
    ),
    Break(
        "examples: a figure that falls short is no failure of the command",
        f"{E}/__main__.py",
        "return 0 if all(outcome.ok",
        "return 0 if any(outcome.ok",
        HOUSE,
    ),
    Break(
        "examples: an example whose package is missing is run",
        f"{E}/__main__.py",
        "        if example.missing:\n",
        "        if example.missing and table:\n",
        HOUSE,
    ),
    Break(
        "examples: a partial run forgets the other rows",
        f"{E}/__main__.py",
        "{**results.read(), **fresh}",
        "{**fresh}",
        HOUSE,
    ),
    Break(
        "examples: the page loses what stands below the table",
        f"{E}/index.py",
        "{END}{after}",
        "{END}",
        HOUSE,
    ),
    # ---- what they show
    Break(
        "examples: errors go back one step less than k2",
        f"{P}/bptt.py",
        "split = max(0, end + k1 - k2) - begin",
        "split = max(0, end + k1 - max(k1, k2 - 1)) - begin",
        "tests/examples -k bptt_truncated",
    ),
    Break(
        "examples: clipping by value leaves what is too large",
        f"{P}/optim.py",
        "np.clip(g, -limit, limit, out=g)",
        "np.clip(g, -limit, None, out=g)",
        "tests/examples -k clipping",
    ),
    Break(
        "examples: a decoder's errors do not reach its encoder",
        f"{E}/shapes.py",
        "self.encoder.backward(read, None, d_decoder.state)",
        "self.encoder.backward(read, None)",
        "tests/examples -k shapes",
    ),
    Break(
        "examples: only the first layer's states begin where they are told",
        f"{P}/_stacked.py",
        "return tuple(None if entry is None else tuple(entry) for entry in state)",
        "return tuple(None if entry is None or k else tuple(entry) for k, entry in enumerate(state))",
        "tests/examples -k multilayer",
    ),
    Break(
        "examples: the loop in PyTorch takes no step",
        f"{E}/training.py",
        "        optimizer.step()\n",
        "",
        "tests/examples -k 'video or draw'",
    ),
    Break(
        "examples: DRAW writes in its first step alone",
        f"{E}/draw.py",
        "canvas = canvas + self._ink(h)[0]",
        "canvas = canvas if cost.any() else canvas + self._ink(h)[0]",
        "tests/examples -k draw",
    ),
    Break(
        "examples: an object stands in another row than the truth says",
        "examples/scenes.py",
        "transpose(0, 3, 1, 4, 2, 5)",
        "transpose(0, 3, 2, 4, 1, 5)",
        "tests/examples/test_seen.py",
    ),
    Break(
        "examples: a caption may name an object twice",
        "examples/captions.py",
        "set(objects) if well and len(set(objects)) == len(objects) else None",
        "set(objects) if well else None",
        "tests/examples/test_seen.py",
    ),
    Break(
        "examples: an answer counts as right that is not",
        "examples/vqa.py",
        "(choices == answer[:, None]).argmax(1)",
        "(choices == answer[:, None]).argmin(1)",
        "tests/examples/test_seen.py",
    ),
    Break(
        "examples: dates that are asked for are learnt from",
        "examples/seq2seq.py",
        "days[(days % 10 == 0) == fresh][:count]",
        "days[:count]",
        "tests/examples/test_seen.py",
    ),
    # ---- real programs
    Break(
        "examples: a program's result that is no number is close to every other",
        "examples/real/compare.py",
        "if not gap <= TOLERANCE:",
        "if gap > TOLERANCE:",
        REAL,
    ),
    Break(
        "examples: the first call of a program counts",
        "examples/real/compare.py",
        "statistics.median(times[0][1:]) / statistics.median(times[1][1:])",
        "statistics.median(times[0]) / statistics.median(times[1])",
        REAL,
    ),
    Break(
        "examples: a program pins no version",
        "examples/real/g2pm.py",
        'PACKAGES = ("g2pM==0.1.2.5",)',
        'PACKAGES = ("g2pM",)',
        REAL,
    ),
    Break(
        "examples: what a program pins lies behind what is there already",
        "examples/real/environment.py",
        'f"site.addsitedir({path!r})"',
        'f"sys.path.insert(0, {path!r})"',
        REAL,
    ),
    Break(
        "examples: sequences come apart with what lies behind them",
        "examples/real/ragged.py",
        "[whole[:length, k] for k, length",
        "[whole[:, k] for k, length",
        REAL,
    ),
    Break(
        "examples: a program that fails is no failure of the command",
        "examples/real/__main__.py",
        "file=sys.stderr)\n        return 1",
        "file=sys.stderr)\n        return 0",
        REAL,
    ),
]

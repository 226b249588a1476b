"""Breaks of what looks into a model: the labels, probes and page of `inspect`, the readings of `diagnose`."""

from .record import Break

I = "python/rnnkernels/charlm/inspect"  # noqa: E741 - as a folder
D = "python/rnnkernels/diagnose"

BREAKS = [
    Break(
        "inspect: the quote that closes is inside",
        f"{I}/labelling.py",
        "found[span.kind][span.opened : span.end - span.closed] = True",
        "found[span.kind][span.opened : span.end] = True",
        "tests/charlm/test_inspect_labels.py -k strings",
    ),
    Break(
        "inspect: the scanner closes strings at escaped quotes",
        f"{I}/spans.py",
        'escape = r"\\\\.|" if',
        'escape = "" if',
        "tests/charlm/test_inspect_labels.py -k scanner",
    ),
    Break(
        "inspect: a walrus ends an if header",
        f"{I}/labelling.py",
        'MARKS = re.compile(r"[([{]|[)\\]}]|:=|:|',
        'MARKS = re.compile(r"[([{]|[)\\]}]|:|',
        "tests/charlm/test_inspect_labels.py -k headers",
    ),
    Break(
        "inspect: a continued line has a depth of its own",
        f"{I}/labelling.py",
        "        if not continued[begin] and brackets == 0:",
        "        if not continued[begin]:",
        "tests/charlm/test_inspect_labels.py -k depth",
    ),
    Break(
        "inspect: equal values have ranks of their own",
        f"{I}/probing.py",
        "ranks[order] = np.repeat(first + (counts + 1) / 2, counts)",
        "ranks[order] = np.arange(1, len(values) + 1)",
        "tests/charlm/test_inspect.py -k auc",
    ),
    Break(
        "inspect: every piece of a text begins anew",
        f"{I}/reading.py",
        "        state = run.state\n",
        "        state = None\n",
        "tests/charlm/test_inspect.py -k activations",
    ),
    Break(
        "inspect: a text ends the page's data",
        f"{I}/drawing.py",
        '.replace("<", "\\\\u003c")',
        "",
        "tests/charlm/test_inspect.py -k data",
    ),
    Break(
        "inspect: the page's values are those of characters",
        f"{I}/drawing.py",
        ".astype(np.uint8).T)",
        ".astype(np.uint8))",
        "tests/charlm/test_inspect.py -k values",
    ),
    Break(
        "inspect: units that are low inside tell nothing",
        f"{I}/page.js",
        "return area === null ? 0 : Math.max(area, 1 - area);",
        "return area === null ? 0 : area;",
        "tests/charlm/test_inspect.py -k script",
    ),
    Break(
        "diagnose: MUT3's z sees h",
        f"{D}/gates.py",
        'np.tanh(h) if operand == "feedback" else h',
        "h",
        "tests/diagnose/test_diagnose.py -k reference",
    ),
    Break(
        "diagnose: the output gate's peephole sees c of the step before",
        f"{D}/gates.py",
        'seen = after["c"] if name == "o" else before["c"]',
        'seen = before["c"]',
        "tests/diagnose/test_diagnose.py -k reference",
    ),
    Break(
        "diagnose: singular values of all gates together",
        f"{D}/spectrum.py",
        "[weight[at : at + hidden] for at in range(0, len(weight), hidden)]",
        "[weight for at in range(0, len(weight), hidden)]",
        "tests/diagnose/test_diagnose.py -k singular",
    ),
    Break(
        "diagnose: the loss reads every step",
        f"{D}/diagnosis.py",
        "    d_output[-1] = width",
        "    d_output[:] = width",
        "tests/diagnose/test_diagnose.py -k slope",
    ),
    Break(
        "diagnose: windows do not reach the text's end",
        "python/rnnkernels/charlm/diagnosing.py",
        "first = np.linspace(0, last - 1, min(batch, last))",
        "first = np.linspace(0, last - 2, min(batch, last))",
        "tests/diagnose/test_diagnose.py -k prediction",
    ),
    Break(
        "cli: a result replaces what was read",
        "python/rnnkernels/charlm/command_line.py",
        "if given and path.exists() and Path(given).exists() and path.samefile(given):",
        "if given and path.exists() and not Path(given).exists():",
        "tests/python/test_cli.py -k errors",
    ),
]

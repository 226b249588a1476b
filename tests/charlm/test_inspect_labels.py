"""What is true of each character of a source text: strings, comments, `if` headers, depth and position."""

from __future__ import annotations

import numpy as np
import pytest

from rnnkernels.charlm import inspect


def marked(text: str, name: str, language: str = "python") -> str:
    """The characters with a property as they are, the others as dots."""
    labels = inspect.labels(text, language)[name]
    return "".join(c if c == "\n" or has else "." for c, has in zip(text, labels, strict=True))


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('a = "b" + \'c"d\'', '...."b....\'c"d.'),  # the quote that opens is inside, the one that closes is not
        ('rb"x\\"y" f', '.."x\\"y...'),  # of a prefix nothing can be known; an escaped quote closes nothing
        ("f'{a[\"b\"]} c' + d", '.\'{a["b"]} c.....'),  # all of an f-string
        ("x = '' # 'no'", "....'........"),
        ('x = ("a\nb = "c"\n', '....."a\n...."c.\n'),  # a string that its line ends: from there on by the scanner
        ("a ? b 'c'", "......'c."),
    ],
)
def test_strings_of_python(text: str, inside: str) -> None:
    assert marked(text, "string") == inside


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ('"""a\n"b" c""" d', '"""a\n"b" c""...'),
        ("x = f'''{a}'''", ".....'''{a}''."),
        ("x = '''open\nb", "....'''open\nb"),
        ('$ """a\n\\"""" b', '.."""a\n\\"""...'),  # by the scanner
    ],
)
def test_docstrings_of_python(text: str, inside: str) -> None:
    assert marked(text, "docstring") == inside
    assert not inspect.labels(text, "python")["string"].any()


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("a = 1  # b\nc", ".......# b\n."),
        ("a = '# no'  # b", "............# b"),
        ("x = (\n  1, # one\n", ".....\n.....# one\n"),
        ("x = $ # by the scanner\n", "......# by the scanner\n"),
    ],
)
def test_comments_of_python(text: str, inside: str) -> None:
    assert marked(text, "comment") == inside


def test_the_scanner_reads_python_as_its_tokenizer_does() -> None:
    text = (
        "def f(a):\n    '''x\n    \"y\" '''  # z\n    b = 'c\\'d' + \"#\" # e'f\n"
        '    return rb\'g\' if a else ["""h\'""", \'i\']\n'
    )
    read = inspect.labels(text, "python")
    scanned = inspect.labels("'\n" + text, "python")  # a quote that nothing closes ends the tokenizer's part
    for name in ("string", "docstring", "comment"):
        assert (read[name] == scanned[name][2:]).all()
        assert read[name].any()


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("if a == {1: 2}[b]: c\n", ".f a == {1: 2}[b]...\n"),
        ("  elif (x :=\n    y): z\n", ".....f (x :=\n    y)...\n"),
        ("if x := 'a:b': c", ".f x := 'a:b'..."),
        ("iff = 1\nx = a if b else c\n# if d:\n", ".......\n.................\n.......\n"),
        ("if a \\\n  and b: c", ".f a \\\n  and b..."),
        ("if a # b: c\nd: e", ".f a # b: c\n...."),
    ],
)
def test_if_headers_of_python(text: str, inside: str) -> None:
    assert marked(text, "if") == inside


def test_depth_is_that_of_the_indentation() -> None:
    text = (
        "a\ndef f(\n        b):\n    '''c\nd\n    '''\n    if e:\n\n      # g\n"
        "      h\n  # i\n    while j: \\\nk\n    l\nm\n"
    )
    depth = [0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 0, 1, 1, 1, 0]  # line by line
    deep = np.repeat(depth, [len(line) for line in text.splitlines(keepends=True)])
    labels = inspect.labels(text, "python")["depth"]
    assert (labels == (deep > np.median(deep))).all()
    flat = "a\n" * 100 + text  # of which the median is 0: whatever is indented is deep
    labels = inspect.labels(flat, "python")["depth"][200:]
    assert (labels == (deep > 0)).all()


def test_position_is_that_in_the_line() -> None:
    text = "abcd\nefgh\n\ni"  # places 0 1 2 3 4, 0 1 2 3 4, 0, 0: the median is 1.5
    assert marked(text, "position") == "..cd\n..gh\n\n."
    assert inspect.labels(text)["position"].tolist() == [p > 1.5 for p in (0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 0)]


def test_c() -> None:
    text = 'int f(char *a) { // b "c"\n  if (a[0] == \'(\' /* d) */ && g("e")) { return 1; }\n}\nif x;'
    assert marked(text, "string", "c") == (
        "." * 25 + "\n" + "  if (a[0] == ".replace(" ", ".").translate({ord(c): "." for c in "if(a[0]="})
        + "'(" + "." * len("' /* d) */ && g(") + '"e' + "." * len('")) { return 1; }') + "\n.\n....."
    )  # fmt: skip
    assert marked(text, "comment", "c").split("\n")[0] == "." * 18 + '/ b "c"'
    assert "* d) *" in marked(text, "comment", "c").split("\n")[1]
    assert marked(text, "if", "c").split("\n")[1] == "....." + "(a[0] == '(' /* d) */ && g(\"e\")" + "." * 15
    assert marked(text, "if", "c").split("\n")[3] == "....."
    deep = marked("a\n" * 99 + "{ b { c } d }", "depth", "c").split("\n")[-1]
    assert deep == "{ b { c } d ."


def test_plain_text() -> None:
    text = 'He said "well", didn\'t he\n  "and so\nto bed'
    assert marked(text, "string", "plain") == "........" + '"well' + "." * 12 + "\n.." + '"and so\n......'
    assert not inspect.labels(text, "plain")["comment"].any()
    assert marked(text, "depth", "plain").split("\n")[1:] == ['  "and so', "......"]


def test_the_language_is_guessed() -> None:
    assert (
        inspect.language_of("import a\n\ndef f(b):\n    return {\n        1: b,\n        2: 3\n    }\na = 1\n")
        == "python"
    )
    assert inspect.language_of("int f(void) {\n  return 1;\n}\n") == "c"
    assert inspect.language_of("First Citizen:\nBefore we proceed any further, hear me speak.\n") == "plain"
    assert inspect.language_of("int f(void) {\n", "a.py") == "python"
    assert inspect.language_of("x = 1\n", "folder.py/a.h") == "c"
    assert inspect.language_of("") == "plain"


@pytest.mark.parametrize("language", inspect.LANGUAGES)
@pytest.mark.parametrize(
    "text", ["", "\n", "'", '"""', "/*", "if (", "if", "\0", "\t\f\n \\", "\ud800'", "}\n)]", "a\r'\rb"]
)
def test_any_text_has_labels(text: str, language: str) -> None:
    labels = inspect.labels(text, language)
    assert set(labels) == set(inspect.PROPERTIES)
    assert all(label.dtype == np.bool_ and label.shape == (len(text),) for label in labels.values())

r"""How much a text looks like Python, C and LaTeX: lines that do and lines that do not, and brackets between lines."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from rnnkernels import charlm
from rnnkernels.charlm.brackets import Bracket, lines_unmatched


def judged(text: str, language: str) -> str:
    """Return a sign for each line: "." is good, "r" does not read, "b" does not balance, "x" does neither."""
    signs = {(True, True): ".", (False, True): "r", (True, False): "b", (False, False): "x"}
    return "".join(signs[verdict] for verdict in charlm.LANGUAGES[language].judge(text))


# ---- one line ----

LINES = {
    ("python", "."): [
        "x = foo(a, [b], {c: d})",
        "x = '(' + \"]\"  # )",
        "x = 1 + \\",
        '"""One line."""',
        "the quick brown fox",
    ],
    ("python", "r"): ["x = 'open", "don't", "a $ b", "a ? b", '"""Opened here.'],
    ("python", "b"): ["return foo(a, [b)]", "call(a,", "b)"],
    ("c", "."): [
        "if (x[0] == '{') { y->z++; }",
        "#include <sys/types.h>",
        '#define A(x) "(" L"]\\"" #x',
        "x = 0x1p-3f + .5e+7L;",
        "int a; /* closed ( */ int b; // open (",
    ],
    ("c", "r"): [
        "x = 0x1p-3f + .5e+7L + 1'000;",  # a digit separator is C23's
        "x = 'open;",
        'puts("open);',  # the bracket in it is none
        "int a; /* open",
        "closed */ int a;",
        "a @ b",
        "a $ b",
        "ä = 1;",
    ],
    ("c", "b"): ["foo(a, [b)];", "foo(a;", "}"],
    ("latex", "."): [
        r"Let $x_{1}^2$ be \emph{a {b} c} \{ 50\% \_.",
        r"\[ \left( x_1 \right] \]",  # \left's partner is \right, whatever it looks like
        r"\( x^2 \) and $$ y^2 $$",
        r"\begin{align*} a_1 &= b \\[2pt] \end{align*}",
        r"\begin{itemize} \item a \end{itemize}",
        r"see \ref{eq:a_b} and \cite[p.~2]{a_b} % not x_1 {",
        r"\beginning{a}",
        r"\begin{verbatim} { x_1 $ \end{verbatim}",
    ],
    ("latex", "r"): [r"x_1", r"\begin{itemize} x_1 \end{itemize}", r"\begin itemize", "a \\"],
    ("latex", "b"): [r"{a", r"a}", r"\[ a", r"a $x_1", r"\begin{proof}", r"\begin{proof} \end{prof}"],
}


@pytest.mark.parametrize(
    ("language", "line", "sign"),
    [(language, line, sign) for (language, sign), lines in LINES.items() for line in lines],
)
def test_one_line(language: str, line: str, sign: str) -> None:
    assert judged(f"{line}\n", language) == sign


# ---- several lines ----


@pytest.mark.parametrize(
    ("language", "text", "signs"),
    [
        # partners on other lines
        ("c", "int f(int a,\n      int b)\n{\n  return a;\n}\n", "....."),
        ("c", "f(a\\\n, b);\n", ".."),
        ("latex", "\\begin{theorem}\n  A $x_1$ {\\em\n  b}.\n\\end{theorem}\n", "...."),
        # a bracket that is missing spoils its line alone
        ("c", "int f(int a\n{\n  g(1);\n}\nint h(void)\n{\n}\n", "b......"),
        ("c", "void f(void)\n{\n  g((1);\n}\nint a;\n", "..b.."),
        ("latex", "\\begin{proof}\n\\emph{a\n\\end{proof}\nb\n", ".b.."),
        # comments are no lines
        ("c", "/* it's\n   prose ( */\nint a;\n// don't\n\n", "."),
        ("latex", "% x_1\n\na\n  % {\n", "."),
        # a dollar ends with its paragraph
        ("latex", "a $x_1\n= y_2$ b\n", ".."),
        ("latex", "a $x_1\nb\n \nc $y_1$ d\n", "b.."),
    ],
)
def test_several_lines(language: str, text: str, signs: str) -> None:
    assert judged(text, language) == signs


def test_a_weaker_bracket_does_not_close_over_a_stronger_one() -> None:
    assert lines_unmatched(
        [Bracket(0, "(", True), Bracket(1, "{", True), Bracket(2, "(", False), Bracket(3, "{", False)],
        {"(": 0, "{": 1},
    ) == {0, 2}


def test_shares_of_several_lines() -> None:
    shares = charlm.python_lines("a = 1\n\n   \nb = (\nc = 'x\nlast line is cut (")
    assert (shares.lines, shares.tokenize, shares.balance, shares.both) == (3, 2 / 3, 2 / 3, 1 / 3)
    assert "3 lines" in str(shares)
    shares = charlm.line_shares("int a;\n\nf(;\n@ }\nlast line is cut (", "c")
    assert (shares.lines, shares.tokenize, shares.balance, shares.both) == (3, 2 / 3, 1 / 3, 1 / 3)


@pytest.mark.parametrize("language", charlm.LANGUAGES)
@pytest.mark.parametrize("text", ["no newline", "\n \n", ""])
def test_text_without_lines(language: str, text: str) -> None:
    with pytest.raises(ValueError, match="text: expected a whole line"):
        charlm.line_shares(text, language)


def test_a_language_that_is_not_known() -> None:
    with pytest.raises(ValueError, match="language: expected one of python, c, latex, got 'perl'"):
        charlm.line_shares("a\n", "perl")


# ---- which language ----


def test_the_language_of_a_corpus() -> None:
    def of(**texts: str) -> str:
        documents = (charlm.Document(name.replace("_", "."), text) for name, text in texts.items())
        return charlm.language_of(charlm.Corpus(tuple(documents)))

    assert of(a_py="aa", b_h="a", c_c="aa", d_txt="aaaaaa") == "c"
    assert of(a_TEX="aa", b_h="a") == "latex"
    assert of(a_py="aa", b_h="a") == of(a_txt="a") == "python"


def test_the_standard_library_mostly_passes() -> None:
    source = Path(argparse.__file__).read_text(encoding="utf-8")
    assert charlm.python_lines(source).both > 0.7
    assert charlm.line_shares(source, "latex").both < 0.7


def test_headers_pass() -> None:
    headers = charlm.read_folder(np.get_include(), "*.h")
    assert charlm.language_of(headers) == "c"
    shares = charlm.line_shares("".join(document.text for document in headers.documents), "c")
    assert shares.tokenize > 0.99
    assert shares.balance > 0.99

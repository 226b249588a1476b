r"""How much a text looks like Python, C and LaTeX: lines that do and lines that do not, and brackets between lines."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest

from rnnkernels import charlm
from rnnkernels.charlm.brackets import Bracket, lines_unmatched


def judged(text: str, language: str) -> list[tuple[bool, bool]]:
    return charlm.LANGUAGES[language].judge(text)


# ---- one line ----


@pytest.mark.parametrize(
    ("line", "tokenizes", "balances"),
    [
        ("x = foo(a, [b], {c: d})", True, True),
        ("x = '(' + \"]\"  # )", True, True),
        ("return foo(a, [b)]", True, False),
        ("call(a,", True, False),
        ("b)", True, False),
        ("x = 'open", False, True),
        ("don't", False, True),
        ("a $ b", False, True),
        ("a ? b", False, True),
        ("x = 1 + \\", True, True),
        ('"""Opened here.', False, True),
        ('"""One line."""', True, True),
        ("the quick brown fox", True, True),
    ],
)
def test_one_line_of_python(line: str, tokenizes: bool, balances: bool) -> None:
    shares = charlm.python_lines(f"{line}\n")
    assert (shares.lines, shares.tokenize, shares.balance) == (1, tokenizes, balances)
    assert shares.both == (tokenizes and balances)


@pytest.mark.parametrize(
    ("line", "tokenizes", "balances"),
    [
        ("if (x[0] == '{') { y->z++; }", True, True),
        ("#include <sys/types.h>", True, True),
        ('#define A(x) "(" L"]\\"" #x', True, True),
        ("x = 0x1p-3f + .5e+7L + 1'000;", False, True),  # a digit separator is C23's
        ("x = 0x1p-3f + .5e+7L;", True, True),
        ("x = 'open;", False, True),
        ('puts("open);', False, True),  # the bracket in it is none
        ("int a; /* closed ( */ int b; // open (", True, True),
        ("int a; /* open", False, True),
        ("closed */ int a;", False, True),
        ("a @ b", False, True),
        ("a $ b", False, True),
        ("ä = 1;", False, True),
        ("foo(a, [b)];", True, False),
        ("foo(a;", True, False),
        ("}", True, False),
        ("f(a\\\n, b);", True, True),
    ],
)
def test_one_line_of_c(line: str, tokenizes: bool, balances: bool) -> None:
    verdicts = judged(f"{line}\n", "c")
    assert all(verdict[0] for verdict in verdicts) == tokenizes
    assert all(verdict[1] for verdict in verdicts) == balances


@pytest.mark.parametrize(
    ("line", "reads", "balances"),
    [
        (r"Let $x_{1}^2$ be \emph{a {b} c} \{ 50\% \_.", True, True),
        (r"\[ \left( x_1 \right] \]", True, True),  # \left's partner is \right, whatever it looks like
        (r"\( x^2 \) and $$ y^2 $$", True, True),
        (r"\begin{align*} a_1 &= b \\[2pt] \end{align*}", True, True),
        (r"\begin{itemize} \item a \end{itemize}", True, True),
        (r"see \ref{eq:a_b} and \cite[p.~2]{a_b} % not x_1 {", True, True),
        (r"x_1", False, True),
        (r"\begin{itemize} x_1 \end{itemize}", False, True),
        (r"\begin itemize", False, True),
        (r"\beginning{a}", True, True),
        ("a \\", False, True),
        (r"{a", True, False),
        (r"a}", True, False),
        (r"\[ a", True, False),
        (r"a $x_1", True, False),
        (r"\begin{proof}", True, False),
        (r"\begin{proof} \end{prof}", True, False),
        (r"\begin{verbatim} { x_1 $ \end{verbatim}", True, True),
    ],
)
def test_one_line_of_latex(line: str, reads: bool, balances: bool) -> None:
    assert judged(f"{line}\n", "latex") == [(reads, balances)]


# ---- several lines ----


def test_partners_on_other_lines() -> None:
    text = "int f(int a,\n      int b)\n{\n  return a;\n}\n"
    assert judged(text, "c") == [(True, True)] * 5
    text = "\\begin{theorem}\n  A $x_1$ {\\em\n  b}.\n\\end{theorem}\n"
    assert judged(text, "latex") == [(True, True)] * 4


def test_a_bracket_that_is_missing_spoils_its_line_alone() -> None:
    assert judged("int f(int a\n{\n  g(1);\n}\nint h(void)\n{\n}\n", "c") == [(True, False)] + [(True, True)] * 6
    assert (
        judged("void f(void)\n{\n  g((1);\n}\nint a;\n", "c")
        == [(True, True)] * 2 + [(True, False)] + [(True, True)] * 2
    )
    text = "\\begin{proof}\n\\emph{a\n\\end{proof}\nb\n"
    assert judged(text, "latex") == [(True, True), (True, False), (True, True), (True, True)]


def test_a_weaker_bracket_does_not_close_over_a_stronger_one() -> None:
    assert lines_unmatched(
        [Bracket(0, "(", True), Bracket(1, "{", True), Bracket(2, "(", False), Bracket(3, "{", False)],
        {"(": 0, "{": 1},
    ) == {0, 2}


def test_comments_are_no_lines() -> None:
    assert judged("/* it's\n   prose ( */\nint a;\n// don't\n\n", "c") == [(True, True)]
    assert judged("% x_1\n\na\n  % {\n", "latex") == [(True, True)]


def test_a_dollar_ends_with_its_paragraph() -> None:
    assert judged("a $x_1\n= y_2$ b\n", "latex") == [(True, True)] * 2
    assert judged("a $x_1\nb\n \nc $y_1$ d\n", "latex") == [(True, False), (True, True), (True, True)]


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

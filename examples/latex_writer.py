r"""LaTeX-like text by rules and chance: sections with environments, formulae and nested braces. No example itself.

It stands in where no folder of LaTeX is given. Everything that it opens it closes, and what it says means nothing.
"""

from __future__ import annotations

import random
import re

WORDS: list[str] = re.findall(
    "[a-z]+",
    """
let the map be a of and group field sum limit kernel module where is bounded we have that for every finite set there
exists an open cover smooth function on space such then by lemma follows from compact converges uniformly sequence its
norm linear operator proof shows this gives here value proper ring ideal measure curve now suppose note which with
""",
)
LETTERS: list[str] = [*"abcfghklmnpqrstuvwxyzABCFGHKLMNPRSTUVX", r"\alpha", r"\beta", r"\gamma", r"\phi", r"\sigma"]
RELATIONS = ["=", "<", r"\le", r"\in", r"\subset", r"\to", r"\cong", r"\ne"]
OPERATORS = ["+", "-", r"\cdot", r"\otimes", r"\circ", r"\times"]
STATEMENTS = ["theorem", "lemma", "definition", "example", "remark", "proposition"]
TOPICS = ["groups", "limits", "kernels", "modules", "measures", "curves", "rings", "covers"]


def latex(seed: int, characters: int) -> str:
    """Return at least so many characters of text, the same for the same seed."""
    writer = Writer(random.Random(seed))
    parts: list[str] = []
    written = 0
    while written < characters:
        parts.append(writer.section())
        written += len(parts[-1])
    return "".join(parts)


class Writer:
    """Draws each part of a document."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def section(self) -> str:
        """Return a section with its heading."""
        topic = self.rng.choice(TOPICS)
        level = self.rng.choice(["section", "subsection"])
        head = f"\\{level}{{{self.words(2, 4).capitalize()}}}\n\\label{{sec:{topic}{self.rng.randrange(10)}}}\n\n"
        return head + "".join(self.block() + "\n" for _ in range(self.rng.randint(2, 5)))

    def block(self) -> str:
        """Return a paragraph or an environment, with its newline."""
        kind = self.rng.choice(["paragraph", "paragraph", "equation", "align", "statement", "proof", "list", "table"])
        if kind == "paragraph":
            return self.paragraph()
        if kind == "equation":
            body = f"  \\label{{eq:{self.rng.choice(TOPICS)}}}\n  {self.relation(2)}.\n"
        elif kind == "align":
            body = " \\\\\n".join(f"  {self.term(2)} &= {self.term(2)}" for _ in range(self.rng.randint(2, 3))) + "\n"
            kind = self.rng.choice(["align", "align*"])
        elif kind == "statement":
            kind = self.rng.choice(STATEMENTS)
            body = self.paragraph()
        elif kind == "proof":
            body = self.paragraph() + f"\\[\n  {self.relation(2)}\n\\]\n" + self.sentence() + "\n"
        elif kind == "list":
            kind = self.rng.choice(["itemize", "enumerate"])
            body = "".join(f"  \\item {self.sentence()}\n" for _ in range(self.rng.randint(2, 4)))
        else:
            return self.table()
        return f"\\begin{{{kind}}}\n{body}\\end{{{kind}}}\n"

    def table(self) -> str:
        """Return a table with a caption."""
        cells = [[f"${self.term(1)}$" for _ in range(3)] for _ in range(self.rng.randint(2, 4))]
        rows = " \\\\\n".join("    " + " & ".join(row) for row in cells)
        tabular = f"  \\begin{{tabular}}{{lcr}}\n{rows}\n  \\end{{tabular}}\n"
        return f"\\begin{{table}}\n  \\centering\n{tabular}  \\caption{{{self.sentence()}}}\n\\end{{table}}\n"

    def paragraph(self) -> str:
        """Return a few sentences, one on each line."""
        return "".join(self.sentence() + "\n" for _ in range(self.rng.randint(1, 4)))

    def sentence(self) -> str:
        """Return words with formulae between them."""
        parts = [self.words(2, 5).capitalize()]
        for _ in range(self.rng.randint(0, 2)):
            formula = f"${self.relation(1) if self.rng.random() < 0.6 else self.term(1)}$"
            emphasis = f"\\emph{{{self.words(1, 3)}}}"
            parts += [self.rng.choice([formula, formula, emphasis, self.reference()]), self.words(1, 5)]
        return " ".join(parts) + "."

    def reference(self) -> str:
        """Return a reference to something."""
        topic = self.rng.choice(TOPICS)
        return self.rng.choice([f"\\eqref{{eq:{topic}}}", f"Section~\\ref{{sec:{topic}{self.rng.randrange(10)}}}"])

    def words(self, least: int, most: int) -> str:
        """Return some words."""
        return " ".join(self.rng.choice(WORDS) for _ in range(self.rng.randint(least, most)))

    def relation(self, depth: int) -> str:
        """Return one term related to another."""
        return f"{self.term(depth)} {self.rng.choice(RELATIONS)} {self.term(depth)}"

    def term(self, depth: int) -> str:
        """Return a term of a formula, with other terms inside where `depth` allows."""
        letter = self.rng.choice(LETTERS)
        if depth <= 0:
            return letter
        inner, other = self.term(depth - 1), self.term(self.rng.randrange(depth))
        forms = [
            f"{letter}_{{{inner}}}",
            f"{letter}^{{{inner}}}",
            f"\\frac{{{inner}}}{{{other}}}",
            f"\\sqrt{{{inner}}}",
            f"\\sum_{{{letter} = 1}}^{{{other}}} {inner}",
            f"\\left( {inner} {self.rng.choice(OPERATORS)} {other} \\right)",
            f"\\{{ {inner} : {other} \\}}",
            f"{letter}({inner}, {other})",
            f"\\mathcal{{{letter[-1].upper()}}}({inner})",
            f"{inner} {self.rng.choice(OPERATORS)} {other}",
        ]
        return self.rng.choice(forms)

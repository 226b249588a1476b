"""Write a header of csrc/, and all that it includes, as one string of C++ in one file.

    python flatten_headers.py HEADER NAMESPACE NAME TARGET TO

The text defines RNNKERNELS_TARGET as TARGET, and includes nothing of the project's: each header stands in it once, in
the place of its first #include, without lines of comments. What is included of the standard library stays in standard.h
only. So a compiler that is called at run time needs no files.
"""

import re
import sys
from pathlib import Path

_INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
_SPLIT = 8000  # bytes of a literal: compilers join those that follow each other


def flatten(header: Path, seen: set[Path]) -> list[str]:
    """Return the lines of a header and of those that it includes, but what was seen before."""
    if header in seen:
        return []
    seen.add(header)
    lines = []
    for line in header.read_text(encoding="utf-8").splitlines():
        included = _INCLUDE.match(line)
        if included and included[1] == '"':
            lines += flatten((header.parent / included[2]).resolve(), seen)
        elif included and header.name != "standard.h":
            continue
        elif line.strip() != "#pragma once" and line.strip() and not line.lstrip().startswith("//"):
            lines.append(line)
    return lines


def main(header: str, namespace: str, name: str, target: str, to: str) -> None:
    """Write the file."""
    text = "\n".join([f"#define RNNKERNELS_TARGET {target}", *flatten(Path(header).resolve(), set())]) + "\n"
    parts = [text[at : at + _SPLIT] for at in range(0, len(text), _SPLIT)]
    literals = "\n".join(f'    R"flat({part})flat"' for part in parts)
    Path(to).write_text(
        f"// Made by cmake/flatten_headers.py.\nnamespace {namespace} {{\n"
        f"extern const char* const {name};\nconst char* const {name} =\n{literals};\n}}  // namespace {namespace}\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main(*sys.argv[1:])

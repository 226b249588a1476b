"""What compile_resident.py and compile_grid.py ask of machine code: a disassembler, and the instructions of a step.

No GPU is needed. A disassembler is nvdisasm on the path, or named in RNNKERNELS_NVDISASM, or that of the package
nvidia-cuda-nvdisasm (`pip install 'nvidia-cuda-nvdisasm==13.*'`), or of triton.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
from pathlib import Path

PACKAGES = ("nvidia-cuda-nvdisasm", "triton")


def disassembler() -> str | None:
    """Return where one is."""
    found = os.environ.get("RNNKERNELS_NVDISASM") or shutil.which("nvdisasm")
    for package in PACKAGES:
        if found:
            break
        try:
            files = importlib.metadata.files(package) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        found = next((str(file.locate()) for file in files if file.name == "nvdisasm"), None)
    return found


def listing(tool: str, cubin: Path) -> list[str]:
    """Return the instructions of a file's kernel, each without its address, and its labels, which end in a colon."""
    text = subprocess.run([tool, "-c", str(cubin)], capture_output=True, text=True, check=True).stdout
    found: list[str] = []
    for line in text.splitlines():
        label = re.match(r"(\.L_x_\d+:)", line)
        instruction = re.match(r"\s+/\*[0-9a-f]+\*/\s+(.*)", line)
        if label:
            found.append(label[1])
        elif instruction:
            found.append(instruction[1])
    return found


def names(lines: list[str]) -> list[str]:
    """Return what each instruction is called, without what follows a dot."""
    bare = [re.sub(r"^@!?U?P\w+\s+", "", line) for line in lines if not line.endswith(":")]
    return [line.split()[0].rstrip(";").split(".")[0] for line in bare if line]


def successors(lines: list[str]) -> list[list[int]]:
    """Return, of each line, which may come next. A function that is called returns to where it was called from.

    A branch has a condition before it, beside its target, or in its name: whether lanes go together (CONV, DIV).
    """
    places = {line[:-1]: at for at, line in enumerate(lines) if line.endswith(":")}
    found: list[list[int]] = []
    for at, line in enumerate(lines):
        target = re.match(r"(@\S+\s+)?BRA(?:\.U)?(\.\S+)?\s+(.*)`\((\.L_x_\d+)\)", line)
        ends = re.match(r"(EXIT|RET)\b", line) or (target and not any(target.groups()[:3]))
        after = [] if ends or at + 1 == len(lines) else [at + 1]
        found.append([*after, places[target[4]]] if target else after)
    return found


def cycles(nodes: set[int], after: list[list[int]]) -> list[set[int]]:
    """Return the strongly connected parts with more than one node (Tarjan's algorithm)."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    open_nodes: list[int] = []
    is_open: set[int] = set()
    found: list[set[int]] = []
    for root in nodes:
        work = [(root, 0)] if root not in order else []
        while work:
            node, at = work.pop()
            if at == 0:
                order[node] = low[node] = len(order)
                open_nodes.append(node)
                is_open.add(node)
            following = [one for one in after[node] if one in nodes]
            if at > 0:
                low[node] = min(low[node], low[following[at - 1]])
            while at < len(following):
                one = following[at]
                at += 1
                if one not in order:
                    work += [(node, at), (one, 0)]
                    break
                if one in is_open:
                    low[node] = min(low[node], order[one])
            else:
                if low[node] == order[node]:
                    part = set(open_nodes[open_nodes.index(node) :])
                    del open_nodes[open_nodes.index(node) :]
                    is_open -= part
                    if len(part) > 1:
                        found.append(part)
    return found


def steps_of(lines: list[str], wanted: tuple[str, ...]) -> list[list[str]]:
    """Return the instructions of each innermost loop with all that is wanted in it, wherever they stand."""
    after = successors(lines)

    def innermost(nodes: set[int]) -> list[set[int]]:
        found: list[set[int]] = []
        for loop in cycles(nodes, after):
            if not set(wanted) <= set(names([lines[node] for node in loop])):
                continue
            entries = {one for node in range(len(lines)) if node not in loop for one in after[node] if one in loop}
            found += innermost(loop - entries) or [loop]
        return found

    loops = innermost(set(range(len(lines))))
    if not loops:
        raise SystemExit(f"expected a loop with {wanted} in it, found none")
    return [[lines[node] for node in sorted(loop)] for loop in loops]


def compiled(source: Path, architecture: str, *more: str) -> tuple[Path, str]:
    """Compile a file by nvcc; return the machine code's file and what ptxas said of it. Warnings are errors."""
    cubin = source.with_suffix(f".{architecture}.cubin")
    target = f"--generate-code=arch=compute_{architecture},code=sm_{architecture}"
    flags = ["-std=c++20", "--fmad=false", "-Werror", "all-warnings", "-Xptxas", "-v", target, "-cubin", *more]
    done = subprocess.run(["nvcc", *flags, "-o", str(cubin), str(source)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{source.name}, sm_{architecture}:\n{done.stderr}")
    return cubin, done.stderr


def look_at_bounds(source: Path, architecture: str, tool: str | None) -> None:
    """Compile a file as a debugging build's, whose waits end in a trap when they take too long."""
    cubin, _ = compiled(source, architecture, "-DRNNKERNELS_BOUNDED_WAITS")
    if tool is not None and "BPT" not in names(listing(tool, cubin)):
        raise SystemExit(f"{source.name}, sm_{architecture}: expected a trap in a debugging build, found none")


def largest(said: str, of: str) -> int:
    """Return the largest number of bytes that ptxas said of something."""
    return max(int(number) for number in re.findall(rf"(\d+) bytes {of}", said))

"""A compiler launcher: `python timed.py LOG COMMAND...` adds a line to LOG, the seconds and what the command made.

The seconds are the processor's, of the command and its children: a busy machine makes them hardly more.
"""

from __future__ import annotations

import os
import sys


def main(log: str, command: list[str]) -> int:
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    if "-o" in command:
        made = command[command.index("-o") + 1]
        with open(log, "a", encoding="utf-8") as out:  # noqa: PTH123 - pathlib takes longer to import than this to run
            out.write(f"{usage.ru_utime + usage.ru_stime:.3f} {made}\n")
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))

# SPDX-License-Identifier: Apache-2.0
"""A clock that several enclaves live by, and that a test puts forward while they run.

As a program: ``python clock.py FILE SELF SCRIPT ARGUMENTS``, or ``… SELF -I -c CODE ARGUMENTS``,
runs what follows with `time.time` put forward by the seconds in FILE. What it starts with
``sys.executable``, as ``certbot-enclave run`` starts certbot, is started by SELF again. The CA, DNS
and everybody else live in the present.
"""

from __future__ import annotations

import os
import runpy
import sys
import time
from pathlib import Path

_WIDTH = 20  # characters; the file is written and read at one stroke


class Clock:
    """One clock.

    Args:
        folder: Its directory, made if missing.

    Attributes:
        words: Go before the name of a console script that is to live by this clock.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file, script = folder / "ahead", folder / "python"
        self._ahead = 0.0
        self._write()
        words = f"{sys.executable} -I {Path(__file__).absolute()} {self._file}"
        script.write_text(f'#!/bin/sh\nexec {words} "$0" "$@"\n')
        script.chmod(0o755)
        self.words = (str(script),)

    @property
    def ahead(self) -> float:
        """Seconds between the present and this clock."""
        return self._ahead

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Put it forward, for whoever runs by it now and later."""
        self._ahead += seconds
        self._write()

    def _write(self) -> None:
        opened = os.open(self._file, os.O_WRONLY | os.O_CREAT, 0o644)
        try:
            os.pwrite(opened, f"{self._ahead:<{_WIDTH}.3f}".encode(), 0)
        finally:
            os.close(opened)


def main() -> None:
    """Put the clock forward, and run the rest of the command line as Python would."""
    path, own, *rest = sys.argv[1:]
    ahead, now = os.open(path, os.O_RDONLY), time.time
    time.time = lambda: now() + float(os.pread(ahead, _WIDTH, 0))
    sys.executable = own
    if rest[:2] == ["-I", "-c"]:
        sys.argv = ["-c", *rest[3:]]
        exec(compile(rest[2], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = rest
        runpy.run_path(rest[0], run_name="__main__")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` at a named point, reached from outside: nothing in the product knows of it.

A server holds a named request, and all that runs in the enclave is killed; or the kernel kills at a
named system call on a named file (`strace`).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from tests.support.world.enclave import Enclave
from tests.support.world.process import program

REACHED = 60.0  # seconds


class Holding(Protocol):
    """A server that holds requests: the test CA, or what stands before a store."""

    def wait_stalled(self, timeout: float = ...) -> Any:
        """Wait for the next request that is held."""

    def release(self) -> None:
        """Let what is held go on, unless its client has gone."""

    def clear(self) -> None:
        """Hold nothing that has not come yet."""


def _children() -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[1-9]*"):
        try:
            status = (entry / "stat").read_text()
        except OSError:
            continue  # no process, or one that has just ended
        parent = int(status.rpartition(")")[2].split()[1])
        found.setdefault(parent, []).append(int(entry.name))
    return found


def _with_descendants(pid: int) -> list[int]:
    children, found = _children(), [pid]
    for known in found:
        found += children.get(known, [])
    return found


def at_a_request(
    enclave: Enclave,
    command: tuple[str, list[str]],
    server: Holding,
    *,
    passing: int = 0,
    alone: bool = False,
) -> None:
    """Kill a command and all that it has started, while a server holds its request.

    Args:
        enclave: Where it runs.
        command: Program and arguments.
        server: Has been told what to hold.
        passing: How many such requests pass before.
        alone: Kill the command only; what it has started comes to its end.
    """
    with enclave.start(command[0], *command[1]) as run:
        for _ in range(passing):
            server.wait_stalled(REACHED)
            server.release()
        server.wait_stalled(REACHED)
        for pid in [run.pid] if alone else _with_descendants(run.pid):
            os.kill(pid, signal.SIGKILL)
        if alone:
            server.release()
        text, _ = run.communicate()  # to the end of whatever still holds its stdout
    assert run.returncode == -signal.SIGKILL, text
    server.release()
    server.clear()


def at_a_call(
    enclave: Enclave,
    command: tuple[str, list[str]],
    call: str,
    path: Path,
    *,
    nth: int = 1,
    ends: Callable[[int], bool] = lambda code: code == -signal.SIGKILL,
) -> None:
    """Kill a command, or what it has started, where it enters a system call on a file.

    Args:
        enclave: Where it runs.
        command: Program and arguments.
        call: Name of the system call; of a rename, the old name counts.
        path: The file.
        nth: At which of these calls.
        ends: Says whether the command may end with an exit code.
    """
    trace = enclave.state.parent / "trace"
    wrapper = enclave.wrapper
    options = ["-f", "-qq", "-o", str(trace), "-P", str(path), "-e", f"trace={call}"]
    options += ["-e", f"inject={call}:signal=KILL:when={nth}"]
    enclave.wrapper = (program("strace"), *options, *wrapper)
    done = enclave.run(command[0], *command[1])
    enclave.wrapper = wrapper
    lines = [line for line in trace.read_text().splitlines() if f" {call}(" in line]
    killed = [line for line in lines if "= ?" in line]
    assert ends(done.code), done.text
    assert len(killed) == 1, lines
    # strace counts for each process.
    assert sum(line.split()[0] == killed[0].split()[0] for line in lines) == nth, lines
    assert call in ("fsync", "flock") or path.name in killed[0]

# SPDX-License-Identifier: Apache-2.0
"""Run two commands in turn and compare medians, so that drift of the machine hits both alike."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """What one run cost.

    Attributes:
        wall: Seconds.
        cpu: Seconds of user and system time, children included.
        memory: Peak resident set in MiB.
    """

    wall: float
    cpu: float
    memory: float


Command = Callable[[], tuple[Sequence[str], Mapping[str, str]]]


# The kernel counts the memory of the process that forks as the child's own until exec, so a small
# process starts the command and takes its figures.
_LAUNCHER = """
import os, sys, time
log = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
actions = [(os.POSIX_SPAWN_DUP2, log, 1), (os.POSIX_SPAWN_DUP2, log, 2)]
started = time.perf_counter()
pid = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ, file_actions=actions)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - started
print(os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""


def run(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Cost:
    """Run a command once.

    Args:
        command: Absolute path of a program, and arguments.
        environment: All of it.
        log: Takes what it prints.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(log), *command],
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    code, wall, cpu, memory = done.stdout.split()
    if code != "0":
        raise RuntimeError(f"{' '.join(command)}: exit {code}\n{log.read_text()}")
    return Cost(float(wall), float(cpu), int(memory) / 1024)


def compare(ours: Command, peer: Command, *, runs: int, log: Path) -> tuple[list[Cost], list[Cost]]:
    """Run both `runs` times, alternating, after one run of each that does not count."""
    found: tuple[list[Cost], list[Cost]] = ([], [])
    for turn in range(runs + 1):
        for costs, command in zip(found, (ours, peer), strict=True):
            cost = run(*command(), log)
            if turn:
                costs.append(cost)
    return found


def _spread(values: Sequence[float]) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:8.3f} [{low:.3f} to {high:.3f}]"


def report(
    title: str, ours: Sequence[Cost], peer: Sequence[Cost], aims: Mapping[str, float]
) -> None:
    """Print medians with quartiles, their ratio, and the aim."""
    print(f"\n{title}: {len(ours)} alternating runs; median [quartiles]")
    for name, unit in (("wall", "s"), ("cpu", "s"), ("memory", "MiB")):
        mine = [getattr(cost, name) for cost in ours]
        theirs = [getattr(cost, name) for cost in peer]
        ratio = statistics.median(mine) / statistics.median(theirs)
        aim = f", aim at most {aims[name]:.2f}" if name in aims else ""
        print(f"  {name:6} {unit:3} ours {_spread(mine)}  peer {_spread(theirs)}")
        print(f"             ratio {ratio:.3f}{aim}")

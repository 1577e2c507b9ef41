# SPDX-License-Identifier: Apache-2.0
"""``python -m tests.fuzz [TARGET…] [--guided] [--count N] [--seed S] [--jobs J]``: run targets.

Each closes with a line. Every input that fails is written to a file, which ``--input`` runs again.
Exit code 0 if none did, else 1.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from certbot_enclave import errors
from tests.fuzz import engine, guided
from tests.fuzz.engine import Failure, Tally
from tests.fuzz.targets import GUIDED, SEED, SOAK, TARGETS

_SHOWN = 200  # bytes of an input on the screen


def closing_line(name: str, tally: Tally, *, seed: int, seconds: float) -> str:
    """Return the line that closes a target's run."""
    return (
        f"fuzz {name}: inputs={tally.inputs} crashes={tally.crashes} hangs={tally.hangs} "
        f"accepted={tally.accepted} codes={len(tally.codes)} peak={tally.peak >> 20} MiB "
        f"seed={seed} seconds={seconds:.0f}"
    )


def _save(name: str, failure: Failure, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(failure.data).hexdigest()[:12]
    path = folder / f"fuzz-{name}-{digest}.hex"
    path.write_text(failure.data.hex() + "\n", encoding="ascii")
    shown = failure.data[:_SHOWN].hex() + ("…" if len(failure.data) > _SHOWN else "")
    print(f"fuzz {name}: {failure.reason}\n  input {shown}")
    print(f"  again: python -m tests.fuzz {name} --input {path}", flush=True)


def _run(name: str, args: argparse.Namespace) -> bool:
    start = time.monotonic()
    count = SOAK[name] if args.count is None else args.count
    if args.guided:
        tally, reached = guided.run(name, count=count, seed=args.seed, jobs=args.jobs)
    else:
        tally = engine.run(name, TARGETS[name], count=count, seed=args.seed, jobs=args.jobs)
        reached = ()
    for failure in tally.failures:
        _save(name, failure, args.save)
    if args.codes:
        for code, number in sorted(tally.codes.items()):
            print(f"fuzz {name}: {code}={number}")
    for line in reached:
        print(f"fuzz {name}: {line}")
    print(closing_line(name, tally, seed=args.seed, seconds=time.monotonic() - start), flush=True)
    return not tally.crashes and not tally.hangs


def _again(name: str, path: Path) -> None:
    """Run one saved input; what is neither accepted nor refused ends in a traceback."""
    try:
        TARGETS[name].judge(bytes.fromhex(path.read_text(encoding="ascii")))
    except errors.Error as error:
        print(f"fuzz {name}: refused: {error.code}: {error}")
        engine.check_message(error)
    else:
        print(f"fuzz {name}: accepted")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the targets that are named, or all.

    Args:
        argv: Arguments without the program's name; None means those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--count", type=int, help="inputs; default: as many as make soak runs")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--guided", action="store_true", help=f"by coverage: {', '.join(GUIDED)}")
    parser.add_argument("--codes", action="store_true", help="print how often each code refused")
    parser.add_argument("--save", type=Path, default=tempfile.gettempdir(), metavar="DIR")
    parser.add_argument("--input", type=Path, metavar="FILE", help="run one saved input")
    args = parser.parse_args(argv)
    names = args.targets or list(GUIDED if args.guided else TARGETS)
    unknown = [name for name in names if name not in TARGETS]
    if unknown:
        parser.error(f"unknown target {unknown[0]}; known: {', '.join(TARGETS)}")
    if args.guided and not set(names) <= set(GUIDED):
        parser.error(f"--guided is for {', '.join(GUIDED)}")
    if args.input is not None:
        if len(names) != 1:
            parser.error("--input needs the one target that it is for")
        _again(names[0], args.input)
        return 0
    return 0 if all([_run(name, args) for name in names]) else 1


if __name__ == "__main__":
    sys.exit(main())

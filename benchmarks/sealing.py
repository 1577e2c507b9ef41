# SPDX-License-Identifier: Apache-2.0
"""Sealing and restoring certbot's directory, next to ``tar`` and ``openssl enc`` of the same tree.

Ours is everything that a command does for it, in its process: reading the tree, the archive,
AES-256-GCM, the attestation document, and the store; and back, with the document verified to its
root first. ``openssl enc`` has no GCM, so the peer encrypts by AES-256-CTR and authenticates the
result by HMAC-SHA-256; it neither compresses nor attests, and starts three programs. All of it is
in RAM, the store too.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import alternating
from benchmarks.alternating import Cost
from tests.support.world.process import program

COUNTS = (1, 100, 1000)
AIM = 1.0  # seconds for the last of them


def _work(*words: str) -> str:
    command = [sys.executable, "-m", "benchmarks.sealing_work", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stderr}")
    return done.stdout


def _ours(work: str, folder: Path) -> Cost:
    return Cost(**json.loads(_work(work, str(folder))))


def _scripts(folder: Path) -> dict[str, str]:
    """What the peer does, as a shell's commands."""
    top, to, kept, tag = (
        shlex.quote(str(folder / name)) for name in ("config", "peer", "tar.enc", "tar.mac")
    )
    cipher = f"openssl enc -aes-256-ctr -K {'11' * 32} -iv {'22' * 16}"
    mac = f"openssl dgst -sha256 -mac HMAC -macopt hexkey:{'33' * 32} -binary {kept}"
    return {
        "seal": f"tar -C {top} -cf - . | {cipher} -out {kept} && {mac} > {tag}",
        "restore": f"{mac} | cmp - {tag} && {cipher} -d -in {kept} | tar -C {to} -xpf -",
    }


def _peer(work: str, folder: Path) -> Cost:
    if work == "restore":
        shutil.rmtree(folder / "peer", ignore_errors=True)
        (folder / "peer").mkdir()
    command = ["/bin/sh", "-ec", _scripts(folder)[work]]
    return alternating.run(command, os.environ, folder / "log")


def _median(costs: Sequence[Cost]) -> Cost:
    return Cost(
        *(statistics.median(getattr(cost, name) for cost in costs) for name in Cost.__annotations__)
    )


def run(folder: Path, runs: int, counts: Sequence[int] = COUNTS) -> None:
    """Print the figures."""
    for name in ("openssl", "tar", "cmp"):
        program(name)
    print(
        f"\nsealed state, medians of {runs} alternating runs: ours in its process, the peer is\n"
        "  tar, openssl enc -aes-256-ctr and HMAC-SHA-256 (openssl enc has no GCM); wall (CPU)\n"
        f"  seconds, peak of a process; aim at most {AIM:g} s for {COUNTS[-1]}"
    )
    for count in counts:
        place = folder / str(count)
        place.mkdir()
        _work("prepare", str(place), str(count))
        bare = _ours("nothing", place).memory
        found: dict[str, tuple[list[Cost], list[Cost]]] = {"seal": ([], []), "restore": ([], [])}
        for turn in range(runs + 1):
            for work, (mine, theirs) in found.items():
                costs = _ours(work, place), _peer(work, place)
                if turn:  # the first is warming up
                    mine.append(costs[0])
                    theirs.append(costs[1])
        for work, (mine, theirs) in found.items():
            ours, peer = _median(mine), _median(theirs)
            more = ours.memory - bare
            print(
                f"  {work:7} {count:5} lineages: ours {ours.wall:.3f} ({ours.cpu:.3f}) s"
                f"  peer {peer.wall:.3f} ({peer.cpu:.3f}) s  ratio {ours.wall / peer.wall:.2f}"
                f" ({ours.cpu / peer.cpu:.2f})"
                f"  {ours.memory:.0f} MiB ({more:+.0f} over imports), peer {peer.memory:.0f} MiB"
            )
        sizes = [(place / name).stat().st_size / 1024 for name in ("bundle", "tar.enc")]
        print(f"  size    {count:5} lineages: ours {sizes[0]:.0f} KiB  peer {sizes[1]:.0f} KiB")
        shutil.rmtree(place)


def main() -> int:
    """Run them alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    with tempfile.TemporaryDirectory(prefix="sealing.", dir="/dev/shm") as folder:
        run(Path(folder), parser.parse_args().runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""Fuzzing that coverage guides: atheris keeps inputs that reach new code, and changes those.

Each process is a libFuzzer of its own that begins with inputs of the target's maker. It is judged
by the same functions as in `engine`. atheris has wheels for some Pythons on Linux only; elsewhere
`engine` runs as many inputs without guidance.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import NamedTuple

from tests.fuzz import changes, engine
from tests.fuzz.engine import Tally

# As the extra "dev" in setup.py has it.
WHEEL = (
    sys.platform == "linux"
    and platform.machine() == "x86_64"
    and (3, 11) <= sys.version_info[:2] < (3, 15)
)
_SEEDS = 300  # inputs to begin with
_LONGEST = 1232  # bytes of an input: an answer over UDP; longer ones are but slower
_STUCK = 60  # seconds after which libFuzzer ends the process; `engine.LIMIT` counts CPU time
_ENDS = {70: "hang", 71: "crash: out of memory"}  # exit codes of libFuzzer
_MADE, _LIBFUZZER = 0.2, 0.25  # shares of inputs that are new, and that libFuzzer changed


class Guided(NamedTuple):
    """What came of it: the counts, and a line of each process about the code it reached."""

    tally: Tally
    reached: tuple[str, ...]


# --- one process ---


def _fuzz(name: str, count: int, seed: int, folder: Path) -> None:
    """Run `count` inputs, print the tally, and never return: libFuzzer ends the process."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["certbot_enclave", "dns"]):
        # dnspython loads the types of records when it meets them.
        for kind in ("CAA", "CNAME", "DNAME", "RRSIG", "OPT"):
            import_module(f"dns.rdtypes.ANY.{kind}")
        targets = import_module("tests.fuzz.targets")
    target, pieces = targets.TARGETS[name], targets.GUIDED[name]
    random = Random(f"{name}:{seed}")
    seeds = folder / "seeds"
    seeds.mkdir()
    for number in range(_SEEDS):
        (seeds / f"{number:03}").write_bytes(target.make(random)[:_LONGEST])
    tally = Tally()

    def one(data: bytes) -> None:
        started = time.process_time()
        engine.judge(target, data, tally)
        if time.process_time() - started > engine.LIMIT:
            tally.hangs += 1
            tally.fail(f"hang: more than {engine.LIMIT:.0f} seconds", data)
        tally.inputs += 1
        if tally.inputs == count:
            _tell(tally)

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        random.seed(seed)
        choice = random.random()
        if choice < _MADE:
            return bytes(target.make(random)[:size])
        if choice < _MADE + _LIBFUZZER:
            return bytes(atheris.Mutate(data, size))
        return changes.change(random, data, pieces)[:size]

    warnings.simplefilter("error")
    options = {
        "runs": count,
        "seed": seed % (1 << 31) or 1,  # 0 means a random one
        "max_len": _LONGEST,
        "timeout": _STUCK,
        "rss_limit_mb": engine.MEMORY >> 20,
        "artifact_prefix": f"{folder}/",
    }
    words = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup([name, *words, str(seeds)], one, custom_mutator=mutate)
    atheris.Fuzz()


def _tell(tally: Tally) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    failures = [(failure.reason, failure.data.hex()) for failure in tally.failures]
    print(json.dumps({**vars(tally), "peak": peak, "failures": failures}), flush=True)


# --- all of them ---


def _collect(code: int, folder: Path, out: str, said: str) -> Guided:
    """Read what a process left behind."""
    tally = Tally()
    if code == 0 and out:
        table = json.loads(out)
        failures = table.pop("failures")
        tally.add(Tally(**{**table, "codes": Counter(table["codes"])}))
        for reason, data in failures:
            tally.fail(reason, bytes.fromhex(data))
    else:
        reason = _ENDS.get(code, f"crash: exit code {code}: {said.strip()[-200:]}")
        tally.hangs += reason == "hang"
        tally.crashes += reason != "hang"
        inputs = [path for path in folder.iterdir() if path.is_file() and "-" in path.name]
        tally.fail(reason, inputs[0].read_bytes() if inputs else b"")
    done = [line for line in said.splitlines() if "DONE" in line]
    return Guided(tally, tuple(" ".join(line.split()[2:8]) for line in done))


def run(name: str, *, count: int, seed: int, jobs: int) -> Guided:
    """Run `count` inputs.

    Args:
        name: Of a target in `targets.GUIDED`.
        count: Number of inputs.
        seed: Of the first process; the others have those after it.
        jobs: Number of processes.

    Raises:
        ModuleNotFoundError: atheris is missing.
    """
    if find_spec("atheris") is None:
        raise ModuleNotFoundError("atheris is missing: pip install -e '.[dev]'")
    tally = Tally()
    reached: list[str] = []
    with tempfile.TemporaryDirectory(prefix="guided.") as top:
        running = []
        for job in range(jobs):
            share = count // jobs + (job < count % jobs)
            folder = Path(top, str(job))
            folder.mkdir()
            words = [name, str(share), str(seed + job), str(folder)]
            with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
                command = [sys.executable, "-m", "tests.fuzz.guided", *words]
                running.append((subprocess.Popen(command, stdout=out, stderr=err), folder))
        for process, folder in running:
            code = process.wait()
            said = (folder / "err").read_text(encoding="utf-8", errors="replace")
            found = _collect(code, folder, (folder / "out").read_text(encoding="utf-8"), said)
            tally.add(found.tally)
            reached += found.reached
    return Guided(tally, tuple(reached))


if __name__ == "__main__":
    _fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))

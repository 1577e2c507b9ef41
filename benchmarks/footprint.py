# SPDX-License-Identifier: Apache-2.0
"""What the extra ``certbot-enclave[aws]`` adds, next to botocore.

Installed size: the files of all distributions that come with it and are not there without, without
bytecode. Memory and time: a process that has loaded what every command inside loads, and then the
sealer, or a client for KMS. botocore is installed for this into a directory of its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from benchmarks import alternating
from benchmarks.alternating import Cost

OURS = "certbot-enclave"
_KEY = "arn:aws:kms:eu-central-1:111122223333:key/0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
_BASE = "import requests, certbot_enclave.runtime"
_SEALER = f"""{_BASE}
import requests_aws4auth
from certbot_enclave.aws import cms, credentials, kms
from certbot_enclave.sealing.awskms import KmsSealer
KmsSealer({_KEY!r})
"""
_BOTOCORE = f"""{_BASE}
import botocore.session
botocore.session.Session().create_client(
    "kms", "eu-central-1", aws_access_key_id="k", aws_secret_access_key="s")
"""


def _needs(name: str, extra: str, there: Mapping[str, metadata.Distribution]) -> set[str]:
    """Return what a distribution needs, itself included, all the way down."""
    found: set[str] = set()
    todo = [(name, extra)]
    while todo:
        name, extra = todo.pop()
        for text in there[name].requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                key = canonicalize_name(needed.name)
                if key not in found:
                    found.add(key)
                    todo.append((key, ""))
    return found


def _size(there: Iterable[metadata.Distribution]) -> float:
    """Return MB of files, without bytecode; pip moves scripts elsewhere with --target."""
    paths = [Path(str(path.locate())) for one in there for path in one.files or ()]
    kept = [path for path in paths if path.suffix != ".pyc" and path.is_file()]
    return sum(path.stat().st_size for path in kept) / 1e6


def _installed(path: list[str]) -> dict[str, metadata.Distribution]:
    found: dict[str, metadata.Distribution] = {}
    for one in metadata.distributions(path=path):
        found.setdefault(canonicalize_name(one.name), one)  # the first is what is imported
    return found


def _own_size() -> float:
    """Return MB of our modules that only the extra uses."""
    import certbot_enclave

    top = Path(certbot_enclave.__file__).parent
    paths = [*(top / "aws").glob("*.py"), top / "sealing" / "awskms.py"]
    return sum(path.stat().st_size for path in paths) / 1e6


def _costs(script: str, path: str, runs: int, log: Path) -> Cost:
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", script]
    found = [alternating.run(command, environment, log) for _ in range(runs)]
    return Cost(
        *(statistics.median(getattr(cost, name) for cost in found) for name in Cost.__annotations__)
    )


def run(folder: Path, runs: int) -> None:
    """Print the figures."""
    if "aws" not in (metadata.metadata(OURS).get_all("Provides-Extra") or ()):
        print("\nthe extra [aws] is not in this version")
        return
    here = _installed(sys.path)
    base = _needs(OURS, "", here)
    extra = _needs(OURS, "aws", here) - base
    peer = folder / "botocore"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--root-user-action=ignore", "--no-compile", f"--target={peer}", "botocore"]
    subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
    beside = _installed([str(peer)])
    log = folder / "log"
    bare, ours, theirs = (
        _costs(script, path, runs, log)
        for script, path in ((_BASE, ""), (_SEALER, ""), (_BOTOCORE, str(peer)))
    )
    print(
        f"\nthe extra [aws] next to botocore {beside['botocore'].version}; medians of {runs} runs"
    )
    for name, size, names, cost in (
        ("ours", _size(here[one] for one in extra), extra, ours),
        (
            "peer",
            _size(one for name, one in beside.items() if name not in base),
            beside.keys() - base,
            theirs,
        ),
    ):
        print(
            f"  {name}: {size:6.2f} MB installed ({', '.join(sorted(names))}), "
            f"{cost.memory - bare.memory:5.1f} MiB and {cost.wall - bare.wall:.2f} s more than "
            f"the {bare.memory:.0f} MiB and {bare.wall:.2f} s without"
        )
    print(f"  our own modules for it, in every installation: {_own_size():.3f} MB")


def main() -> int:
    """Run it alone."""
    with tempfile.TemporaryDirectory(prefix="footprint.") as folder:
        run(Path(folder), 5)
    return 0


if __name__ == "__main__":
    sys.exit(main())

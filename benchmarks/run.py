# SPDX-License-Identifier: Apache-2.0
"""The benchmarks (``make bench``): documents and names per second, starts, issuance, restarts."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks import caa, documents, footprint, restart, sealing
from benchmarks.alternating import compare, report
from tests.conftest import CORPUS
from tests.support.ca.launcher import TestCA
from tests.support.world.dns import DnsWorld
from tests.support.world.enclave import BIN, Enclave
from tests.support.world.owner import Owner
from tests.support.world.pebble import Pebble
from tests.support.world.process import free_port

ISSUER = "pebble.test"


def issuance(state: Path, runs: int) -> None:
    """``certonly -a enclave`` against ``certonly --standalone``, on the same Pebble."""
    port = free_port()
    with (
        DnsWorld(state / "dns") as world,
        Pebble(state / "pebble", resolver=world.resolver.address, http_port=port) as pebble,
    ):
        enclave = Enclave(
            state / "enclave",
            pebble.directory_url,
            pebble.tls_root,
            world.resolver.address,
            port,
            extra={"caa-issuer": ISSUER},
            issuer=ISSUER,
        )
        records = enclave.registered()["records"]
        world.caa("example.test", *(record.split(" CAA ", 1)[1] for record in records))
        folder = state / "standalone"
        common = [
            "--non-interactive",
            "--force-renewal",
            "--domain=example.test",
            f"--server={pebble.directory_url}",
            f"--http-01-port={port}",
            "--http-01-address=127.0.0.1",
            "--max-log-backups=5",
        ]
        bare = {**enclave.full_environment, "REQUESTS_CA_BUNDLE": str(pebble.tls_root)}

        def ours() -> tuple[Sequence[str], Mapping[str, str]]:
            words = [str(BIN / "certbot"), "certonly", "--authenticator=enclave", *common]
            return [*words, *enclave.directories], enclave.full_environment

        def peer() -> tuple[Sequence[str], Mapping[str, str]]:
            words = [str(BIN / "certbot"), "certonly", "--standalone", "--agree-tos", *common]
            words += [f"--{name}-dir={folder / name}" for name in ("config", "work", "logs")]
            return [*words, "--register-unsafely-without-email"], bare

        mine, theirs = compare(ours, peer, runs=runs, log=state / "log")
    aims = {"wall": 1.10, "cpu": 1.25, "memory": 1.15}
    report("certbot certonly, enclave against standalone", mine, theirs, aims)


def verification(state: Path, runs: int) -> None:
    """Cold start of ``certbot-enclave verify`` against importing what it needs most."""
    with (
        DnsWorld(state / "dns2") as world,
        TestCA(resolver=world.resolver.address, http_port=free_port()) as ca,
    ):
        enclave = Enclave(
            state / "enclave2", ca.directory_url, ca.tls_root, world.resolver.address, 80
        )
        enclave.register().ok()
        policy = Owner(world).policy(state / "policy.toml", enclave)
        environment = enclave.full_environment
        command = [
            str(BIN / "certbot-enclave"),
            "verify",
            str(enclave.evidence),
            "--domain=example.test",
            f"--policy={policy}",
            f"--trust-root={enclave.simulator / 'root.pem'}",
        ]
        mine, theirs = compare(
            lambda: (command, environment),
            lambda: ([sys.executable, "-c", "import cryptography.x509"], environment),
            runs=runs,
            log=state / "log",
        )
    title = "certbot-enclave verify, against python -c 'import cryptography.x509'"
    report(title, mine, theirs, {"wall": 1.4})


def main() -> int:
    """Run them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="runs of each command")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="certbot-enclave-bench.", dir="/dev/shm") as folder:
        tempfile.tempdir = folder
        documents.run(CORPUS, args.runs)
        caa.run(3)
        verification(Path(folder), args.runs * 2)
        issuance(Path(folder), args.runs)
        for name, measure, runs in (
            ("sealing", sealing.run, 9),
            ("restart", restart.run, 7),
            ("footprint", footprint.run, 5),
        ):
            place = Path(folder, name)
            place.mkdir()
            measure(place, runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())

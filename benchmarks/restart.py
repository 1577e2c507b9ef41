# SPDX-License-Identifier: Apache-2.0
"""From the start of a process to a served certificate: restored, and issued anew.

After a reboot RAM is empty and nginx serves a certificate that nobody trusts. Restored:
``certbot-enclave restore``, until nginx shows the certificate from the bundle. Issued anew:
``certbot-enclave register`` and ``certbot run``, until nginx shows what the CA issued. The owner's
time for publishing the new account's CAA records, which comes between, is not counted; the CA is
on loopback and enforces CAA. In the field both would be longer, since DNS and the CA are far.
"""

from __future__ import annotations

import argparse
import shutil
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.support.ca.launcher import TestCA
from tests.support.world.dns import DnsWorld
from tests.support.world.enclave import Enclave
from tests.support.world.nginx import Nginx
from tests.support.world.owner import Owner
from tests.support.world.process import free_port

AIM = 0.2
_LOOK = 0.005  # seconds between looks at nginx
_PATIENCE = 60.0  # seconds


def _shown(server: Nginx) -> str:
    return ssl.get_server_certificate(("127.0.0.1", server.port), timeout=10)


def _until_served(started: float, process: subprocess.Popen[str], server: Nginx, old: str) -> float:
    """Return the seconds until nginx shows another certificate; the process has ended then."""
    while (shown := _shown(server)) == old:
        if process.poll() or time.perf_counter() - started > _PATIENCE:
            raise RuntimeError(f"nothing is served:\n{process.communicate()[0]}")
        time.sleep(_LOOK)
    spent = time.perf_counter() - started
    if process.wait():
        raise RuntimeError(f"it failed afterwards:\n{process.communicate()[0]}")
    if shown == old:
        raise RuntimeError("the certificate did not change")
    process.communicate()
    return spent


class _Bench:
    """One CA, one zone, and enclaves that boot in turn."""

    def __init__(self, state: Path, world: DnsWorld, ca: TestCA, http_port: int) -> None:
        self._ca, self._owner = ca, Owner(world)
        self._first = state / "kept"
        self._enclave = Enclave(
            self._first, ca.directory_url, ca.tls_root, world.resolver.address, http_port
        )
        self._turn = 0

    def _booted(self, enclave: Enclave) -> Nginx:
        """Lose what was in RAM, and start nginx with a certificate of nobody's."""
        enclave.reboot()
        deploy = enclave.state / "tls"
        shutil.rmtree(deploy, ignore_errors=True)
        server = Nginx(
            enclave.state / "nginx", deploy=deploy, name="example.test", evidence=enclave.evidence
        )
        enclave.extra |= {
            "deploy": f"files:{deploy}",
            "deploy-check": server.check,
            "deploy-reload": server.reload,
        }
        return server

    def _asked(self) -> int:
        return sum(self._ca.counts()["requests"].values())

    def issue(self) -> None:
        """Give the enclave that is to be restored its certificate."""
        self.anew(self._enclave)

    def anew(self, enclave: Enclave | None = None) -> tuple[float, int]:
        """Return seconds and requests at the CA with an empty store."""
        self._turn += 1
        state = self._first.with_name(f"anew-{self._turn}")
        enclave = enclave or replace(self._enclave, state=state, extra={})
        with self._booted(enclave) as server:
            old, before = _shown(server), self._asked()
            started = time.perf_counter()
            table = enclave.registered()
            spent = time.perf_counter() - started
            self._owner.publish(table["records"])
            words = ["--authenticator=enclave", "--installer=enclave"]
            started = time.perf_counter()
            process = enclave.start("certbot", *enclave.words("run", *words))
            return spent + _until_served(started, process, server, old), self._asked() - before

    def restored(self) -> tuple[float, int]:
        """Return seconds and requests at the CA with the bundle in the store."""
        enclave = self._enclave
        with self._booted(enclave) as server:
            old, before = _shown(server), self._asked()
            started = time.perf_counter()
            words = [*enclave.directories, *enclave.settings("--")]
            process = enclave.start("certbot-enclave", "restore", *words)
            return _until_served(started, process, server, old), self._asked() - before


def _median(found: Sequence[tuple[float, int]]) -> tuple[float, int]:
    return statistics.median(spent for spent, _ in found), max(asked for _, asked in found)


def run(folder: Path, runs: int) -> None:
    """Print the figures."""
    http_port = free_port()
    with (
        DnsWorld(folder / "dns") as world,
        TestCA(resolver=world.resolver.address, http_port=http_port, retry_after=0) as ca,
    ):
        bench = _Bench(folder, world, ca, http_port)
        bench.issue()
        restored, anew = [], []
        for turn in range(runs + 1):
            costs = bench.restored(), bench.anew()
            if turn:  # the first is warming up
                restored.append(costs[0])
                anew.append(costs[1])
    (ours, asked), (peer, needed) = _median(restored), _median(anew)
    print(
        f"\nfrom process start to serving, medians of {runs} alternating runs: "
        f"restored {ours:.2f} s, issued anew {peer:.2f} s\n"
        f"  ratio {ours / peer:.3f}, aim at most {AIM}; requests at the CA: {asked} restored, "
        f"{needed} issued anew, aim none restored"
    )


def main() -> int:
    """Run it alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=7)
    with tempfile.TemporaryDirectory(prefix="restart.", dir="/dev/shm") as folder:
        run(Path(folder), parser.parse_args().runs)
    return 0


if __name__ == "__main__":
    sys.exit(main())

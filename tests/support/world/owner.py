# SPDX-License-Identifier: Apache-2.0
"""The domain owner: holds the zone's key, publishes CAA, writes policies."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from certbot_enclave.caa import issuers
from tests.support.world.dns import DnsWorld
from tests.support.world.enclave import Enclave


class Owner:
    """Publishes in the zones of one world.

    Args:
        world: The zones.
    """

    def __init__(self, world: DnsWorld) -> None:
        self._world = world
        self._names: set[str] = {"example.test"}

    def caa(self, name: str, *texts: str) -> None:
        """Replace the CAA records of a name; each text like ``0 issue "ca.test"``."""
        self._names.add(name)
        self._world.caa(name, *texts)

    def publish(self, records: Iterable[str]) -> None:
        """Publish zone-file lines as ``certbot-enclave register`` prints them."""
        by_name: dict[str, list[str]] = {}
        for line in records:
            name, text = line.split(" IN CAA ", 1)
            by_name.setdefault(name.split(". ", 1)[0], []).append(text)
        for name, texts in by_name.items():
            self.caa(name, *texts)

    def withdraw(self) -> None:
        """Remove every CAA record that was published here."""
        for name in self._names:
            self._world.caa(name)

    def policy(
        self, path: Path, enclave: Enclave, more: str = "", *, sealing: tuple[str, ...] = ()
    ) -> Path:
        """Write a policy that accepts this enclave as it is set up, measured from its image."""
        table = json.loads((enclave.simulator / "measurements.json").read_text())["Measurements"]
        pcrs = [f'{name} = "{value}"' for name, value in table.items() if name.startswith("PCR")]
        stated = {
            "resolver": enclave.resolver.split(","),
            "ca_roots": str(enclave.tls_root),
            "allow_issuer": [enclave.issuer],
            **{
                name.replace("-", "_"): value
                for name, value in enclave.extra.items()
                if name not in ("evidence", "caa-issuer", "wait-for-caa")
            },
        }
        lines = ["[measurements.image]", *pcrs]
        prefix = enclave.server.rpartition("/")[0] + "/"
        lines += [f'[directories."{enclave.server}"]', f'account_prefix = "{prefix}"']
        lines += [f'issuers = ["{enclave.issuer}"]', "[accept]"]
        lines += [f'conditions = ["{issuers.condition(enclave.issuer)}"]']
        lines += [f"sealing = {json.dumps(sealing)}"] if sealing else []
        lines += ["[accept.settings]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in stated.items()]
        path.write_text("\n".join([*lines, more]) + "\n")
        return path

# SPDX-License-Identifier: Apache-2.0
"""Pebble, the independent ACME server; it checks no CAA and names no CAA identity."""

from __future__ import annotations

import json
import ssl
import urllib.request
from pathlib import Path

import trustme

from tests.support.world.process import Process, Server, accepts, free_port


class Pebble(Server):
    """A running Pebble.

    Args:
        state: Directory for state, made if missing.
        resolver: ``127.0.0.1:PORT`` of the resolver that it asks.
        http_port: Where it validates http-01.
        reuse: Per cent of authorizations that it reuses.

    Attributes:
        directory_url: The ACME directory.
        tls_root: PEM file of the root of its HTTPS certificate.
    """

    def __init__(self, state: Path, *, resolver: str, http_port: int, reuse: int = 0) -> None:
        self._state, self._resolver, self._http_port = state, resolver, http_port
        self._reuse = reuse

    def __enter__(self) -> Pebble:
        """Start, and wait until it listens."""
        self._state.mkdir(parents=True, exist_ok=True)
        port, self._management = free_port(), free_port()
        authority = trustme.CA()
        issued = authority.issue_cert("localhost", "127.0.0.1")
        key, chain = self._state / "key.pem", self._state / "chain.pem"
        issued.private_key_pem.write_to_path(str(key))
        issued.cert_chain_pems[0].write_to_path(str(chain))
        self.tls_root = self._state / "root.pem"
        authority.cert_pem.write_to_path(str(self.tls_root))
        config = self._state / "pebble.json"
        config.write_text(
            json.dumps(
                {
                    "pebble": {
                        "listenAddress": f"127.0.0.1:{port}",
                        "managementListenAddress": f"127.0.0.1:{self._management}",
                        "certificate": str(chain),
                        "privateKey": str(key),
                        "httpPort": self._http_port,
                        "tlsPort": 5001,
                        "ocspResponderURL": "",
                        "externalAccountBindingRequired": False,
                    }
                }
            )
        )
        self.directory_url = f"https://localhost:{port}/dir"
        self._process = Process(
            ["pebble", "-config", config, "-dnsserver", self._resolver],
            log=self._state / "log",
            ready=lambda: accepts(port) and accepts(self._management),
            environment={
                "PATH": "/usr/bin:/bin",
                "PEBBLE_VA_NOSLEEP": "1",
                "PEBBLE_WFE_NONCEREJECT": "0",
                "PEBBLE_AUTHZREUSE": str(self._reuse),
            },
        )
        return self

    def issuer_root(self) -> bytes:
        """Return the PEM root that issued certificates lead to."""
        context = ssl.create_default_context(cafile=str(self.tls_root))
        url = f"https://localhost:{self._management}/roots/0"
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:
            data: bytes = answer.read()
        return data

# SPDX-License-Identifier: Apache-2.0
"""NSD: one more server of zones, at an address of its own, with a copy that may differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.support.world.process import Process, Server

_CONFIG = """
server:
    ip-address: {address}@{port}
    server-count: 1
    username: ""
    chroot: ""
    zonesdir: "{state}"
    database: ""
    pidfile: ""
    logfile: ""
    xfrdfile: "{state}/xfrd.state"
    xfrdir: "{state}"
    zonelistfile: "{state}/zone.list"
    rrl-ratelimit: 0
remote-control:
    control-enable: no
"""
_HEAD = "{zone}. 1 SOA ns.{zone}. owner.{zone}. 1 3600 600 86400 1\n"


class Nsd(Server):
    """Serves zones without signatures.

    Args:
        state: Directory for state, made.
        address: On loopback.
        port: UDP and TCP.
        zones: Name without final dot -> lines of the zone file without SOA.
    """

    def __init__(self, state: Path, address: str, port: int, zones: Mapping[str, str]) -> None:
        state.mkdir()
        text = _CONFIG.format(state=state, address=address, port=port)
        for zone, lines in zones.items():
            (state / zone).write_text(_HEAD.format(zone=zone) + lines)
            text += f'zone:\n    name: "{zone}"\n    zonefile: "{zone}"\n'
        config = state / "nsd.conf"
        config.write_text(text)

        def serves() -> bool:
            try:
                for zone in zones:
                    query = dns.message.make_query(zone, "SOA")
                    answer = dns.query.udp(query, address, timeout=1, port=port)
                    if answer.rcode() != dns.rcode.NOERROR:
                        return False
            except (OSError, dns.exception.DNSException):
                return False
            return True

        self._process = Process(
            ["nsd", "-d", "-c", config], log=state / "log", ready=serves, directory=state
        )

    def __enter__(self) -> Nsd:
        """Return itself."""
        return self

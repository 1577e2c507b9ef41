# SPDX-License-Identifier: Apache-2.0
"""CAA records as OctoDNS and DNSControl keep zones in files."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from certbot_enclave.caa.publication import Publication, inside, plain


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Return the key of OctoDNS's order, in which ``a2`` goes before ``a10``."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part)
        for part in re.split("([0-9]+)", name)
        if part
    ]


def octodns(items: Sequence[Publication]) -> str:
    """Return entries of a zone's file, in the order that OctoDNS demands.

    A ``;`` is not escaped here, as it is in TXT records. JSON's strings are YAML's too.
    """
    lines = ["---"]
    for item in sorted(items, key=lambda item: _natural(inside(item)[1])):
        lines += [f"{json.dumps(inside(item)[1])}:", f"  ttl: {item.ttl}", "  type: CAA"]
        lines.append("  values:")
        for record in item.records:
            flags, tag, value = plain(record)
            lines += [f"  - flags: {flags}", f"    tag: {tag}", f"    value: {json.dumps(value)}"]
    return "\n".join(lines)


def dnscontrol(items: Sequence[Publication]) -> str:
    """Return statements that add to domains which ``dnsconfig.js`` has declared before.

    DNSControl writes the quotes itself: one pair more would become part of the value.
    """
    statements = []
    for item in items:
        zone, name = inside(item)
        lines = []
        for record in item.records:
            flags, tag, value = plain(record)
            texts = ", ".join(json.dumps(text) for text in (name or "@", tag, value))
            critical = "CAA_CRITICAL, " if flags else ""
            lines.append(f"  CAA({texts}, {critical}TTL({item.ttl}))")
        statements.append("\n".join([f"D_EXTEND({json.dumps(zone)},", ",\n".join(lines), ");"]))
    return "\n".join(statements)

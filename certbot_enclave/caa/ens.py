# SPDX-License-Identifier: Apache-2.0
"""CAA records as bytes for DNS resolvers on Ethereum: ``setDNSRecords(node, data)`` of ENSIP-6.

Each record as on the wire, one after the other: name uncompressed and in lower case, type, class,
TTL, length, RDATA. Records of one name and type must follow each other, since a later run replaces
an earlier one. CAs ask DNS only, so this counts where a bridge serves it there.
"""

from __future__ import annotations

from collections.abc import Sequence

from certbot_enclave.caa.publication import Publication

_CAA_IN = (257).to_bytes(2, "big") + (1).to_bytes(2, "big")


def _name(name: str) -> bytes:
    labels = name.encode("ascii").split(b".")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def ens(items: Sequence[Publication]) -> str:
    """Return the argument ``data``, in hex."""
    wire = b""
    for item in items:
        for record in item.records:
            rdata = record.wire()
            wire += _name(item.name) + _CAA_IN + item.ttl.to_bytes(4, "big")
            wire += len(rdata).to_bytes(2, "big") + rdata
    return "0x" + wire.hex()

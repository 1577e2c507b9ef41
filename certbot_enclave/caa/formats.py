# SPDX-License-Identifier: Apache-2.0
"""CAA records as DNS software and people want them."""

from __future__ import annotations

from collections.abc import Sequence

from certbot_enclave.caa import grammar
from certbot_enclave.caa.grammar import Record

TTL = 3600  # seconds


def records_for(
    *, issuer: str, methods: Sequence[str], account_uri: str, wildcard: bool = False
) -> tuple[Record, ...]:
    """Return the pair of records that allows one account and nobody else.

    Args:
        issuer: Issuer domain name of the CA.
        methods: Validation method labels.
        account_uri: ACME account URL.
        wildcard: Allow the account a wildcard certificate too; otherwise nobody gets one.

    Raises:
        PolicyError: As `grammar.build`.
    """
    value = grammar.build(issuer, methods=methods, account_uri=account_uri)
    return (
        Record(0, b"issue", value),
        Record(0, b"issuewild", value if wildcard else b";"),
    )


def _owner(name: str) -> str:
    """Return where the records of a name stand: those of ``*.NAME`` at NAME (RFC 8659 §3)."""
    return name.removeprefix("*.") + "."


def zone(name: str, records: Sequence[Record], ttl: int = TTL) -> tuple[str, ...]:
    """Return zone-file lines. The value is quoted: unquoted, its ``;`` would begin a comment."""
    return tuple(f"{_owner(name)} {ttl} IN CAA {record.text()}" for record in records)


def generic(name: str, records: Sequence[Record], ttl: int = TTL) -> tuple[str, ...]:
    """Return zone-file lines in the form for unknown types (RFC 3597 §5)."""
    lines = []
    for record in records:
        rdata = bytes([record.flags, len(record.tag)]) + record.tag + record.value
        lines.append(f"{_owner(name)} {ttl} IN TYPE257 \\# {len(rdata)} {rdata.hex()}")
    return tuple(lines)

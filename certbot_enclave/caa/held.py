# SPDX-License-Identifier: Apache-2.0
"""Accounts that an enclave holds at another directory of its CA, to rehearse there.

Records may allow them. At the CA itself such an account can do nothing: a record names accounts by
their whole URI (RFC 8657 §3), and this one has another origin. It stays a condition, for whoever
relies on the records to accept by name.
"""

from __future__ import annotations

from collections.abc import Iterable

_CONDITION = "rehearsal-account:"


def condition(uri: str) -> str:
    """Return the condition that records give something to such an account."""
    return _CONDITION + uri


def uris(conditions: Iterable[str]) -> tuple[str, ...]:
    """Return the accounts that conditions name, sorted."""
    return tuple(
        sorted(item.removeprefix(_CONDITION) for item in conditions if item.startswith(_CONDITION))
    )

# SPDX-License-Identifier: Apache-2.0
"""What was rehearsed: which image got which names through at which directory. Values in and out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from certbot_enclave import fields

PATH = "enclave/rehearsed.json"  # below certbot's config directory; carried in the bundle
MAX_FILE = 1024 * 1024  # bytes; a bundle carries no larger file
MAX_ENTRIES = 1000
MAX_NAMES = 100  # as many as an order may have (docs/guard.md)
_CODE_PCRS = (0, 1, 2, 8)  # as of a bundle


class Entry(NamedTuple):
    """One rehearsal that succeeded.

    Attributes:
        directory: URL of the ACME directory.
        image: As `image` returns it.
        names: What was ordered there, sorted.
        at: When; aware, whole seconds.
    """

    directory: str
    image: str
    names: tuple[str, ...]
    at: datetime


def image(pcrs: Mapping[int, bytes], bound: int | None) -> str:
    """Return what stands for the code that runs: SHA-256 of its PCRs, lower-case hex.

    The same PCRs decide who opens a bundle. Those of the host and of the instance are left out, and
    so is the one that gets the account.

    Args:
        pcrs: Index -> digest.
        bound: The PCR that is bound to the account, or None.
    """
    of_code = {
        index: digest.hex()
        for index, digest in sorted(pcrs.items())
        if index in _CODE_PCRS or (index >= 16 and index != bound)
    }
    return hashlib.sha256(json.dumps(of_code).encode()).hexdigest()


def known(entries: Iterable[Entry], directory: str, code: str, names: Iterable[str]) -> bool:
    """Return whether exactly these names were rehearsed there by this image."""
    wanted = (directory, code, tuple(sorted(names)))
    return any(item[:3] == wanted for item in entries)


def added(entries: Iterable[Entry], new: Entry) -> tuple[Entry, ...]:
    """Return what is remembered after a rehearsal: of this image at this directory, the latest."""
    kept = [item for item in entries if item[:2] == new[:2] and item.names != new.names]
    kept = [*kept, new][-MAX_ENTRIES:]
    while len(build(kept)) > MAX_FILE:
        del kept[: len(kept) // 2 + 1]
    return tuple(kept)


def _read(value: object, what: str) -> Entry:
    item = fields.table(value, what)
    if item.keys() != {*Entry._fields}:
        fields.refuse(what, "an object of " + ", ".join(Entry._fields))
    names = fields.sorted_list(item["names"], "names", fields.name)
    if not 1 <= len(names) <= MAX_NAMES:
        fields.refuse("names", f"1 to {MAX_NAMES}")
    return Entry(
        fields.url(item["directory"], "directory"),
        fields.sha256(item["image"], "image"),
        names,
        fields.time(item["at"], "at"),
    )


def parse(data: bytes) -> tuple[Entry, ...]:
    """Read what `build` wrote.

    Args:
        data: At most `MAX_FILE` bytes.

    Raises:
        FormatError: It is not that.
    """
    entries = fields.entries(data, "what was rehearsed", size=MAX_FILE, count=MAX_ENTRIES)
    return tuple(_read(item, f"entries[{index}]") for index, item in enumerate(entries))


def build(entries: Sequence[Entry]) -> bytes:
    """Write what was rehearsed, one entry a line."""
    lines = (
        json.dumps({**item._asdict(), "at": f"{item.at:%Y-%m-%dT%H:%M:%SZ}"}, separators=(",", ":"))
        for item in entries
    )
    return ('{"entries": [\n' + ",\n".join(lines) + "\n]}\n").encode()

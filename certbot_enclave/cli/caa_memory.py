# SPDX-License-Identifier: Apache-2.0
"""The file in which ``caa watch`` remembers what it saw: strict JSON, read whole or not at all.

``{"version": 1, "names": {NAME: {…}}}``; each name has

==============  ==================================================================================
``verdict``     as ``caa check`` words it
``code``        0 if it is bound, 1 if not, 3 if nobody could tell
``findings``    array of ``[name, severity]``
``conditions``  array of texts
``found_at``    whose records they are, or null
``records``     array of texts, or null if every look failed
``at``          when it was looked at
``changes``     how often anything was different
``settled``     from when on what is seen binds every CA, if it holds
``longest``     greatest TTL since the last change, in seconds
==============  ==================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from certbot_enclave import errors, fields
from certbot_enclave.caa.drift import NAME, Known, Look
from certbot_enclave.cli import outside

MAX = 64 * 1024 * 1024  # bytes; 10,000 names need about 5 million
VERSION = 1
_MEMBERS = {
    *("verdict", "code", "findings", "conditions", "found_at", "records"),
    *("at", "changes", "settled", "longest"),
}


def _stamp(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"


def build(known: Mapping[str, Known]) -> bytes:
    """Return the content of the file.

    Raises:
        PolicyError: There are too many names for one (``watch-state-size``).
    """
    names = {
        name: {
            "verdict": item.look.verdict,
            "code": item.look.code,
            "findings": item.look.findings,
            "conditions": item.look.conditions,
            "found_at": item.look.found_at,
            "records": item.look.records,
            "at": _stamp(item.look.at),
            "changes": item.changes,
            "settled": _stamp(item.settled),
            "longest": item.longest,
        }
        for name, item in known.items()
    }
    data = json.dumps({"version": VERSION, "names": names}, indent=0).encode() + b"\n"
    if len(data) > MAX:
        raise errors.PolicyError(
            f"memory of {len(known)} names has {len(data)} bytes, expected {MAX} at most",
            code="watch-state-size",
            hint="watch fewer names with one state file",
        )
    return data


def _finding(value: Any, what: str) -> tuple[str, str]:
    if not isinstance(value, list) or len(value) != 2:
        fields.refuse(what, "a name and a severity")
    return fields.printable(value[0], what), fields.printable(value[1], what)


def _findings(value: Any, what: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list) or len(value) > 100:
        fields.refuse(what, "a list of at most 100")
    return tuple(_finding(item, what) for item in value)


def _records(value: Any, what: str) -> tuple[str, ...]:
    # From `drift.remembered`: the whole has a bound, and so has the file; none for each one.
    if not isinstance(value, list) or not all(
        isinstance(item, str) and item.isprintable() for item in value
    ):
        fields.refuse(what, "a list of printable texts")
    return tuple(value)


def _known(name: str, value: Any) -> Known:
    entry, what = fields.table(value, name), f"entry {name}"
    if len(name) > NAME or not name.isprintable():
        fields.refuse("a name", f"a printable text of at most {NAME} characters")
    if entry.keys() != _MEMBERS:
        fields.refuse(what, f"an object of {', '.join(sorted(_MEMBERS))}")
    if entry["code"] not in (0, 1, 3):
        fields.refuse(f"code of {what}", "0, 1 or 3")
    look = Look(
        name,
        fields.printable(entry["verdict"], what),
        fields.count(entry["code"], what),
        _findings(entry["findings"], f"findings of {what}"),
        "",
        fields.texts(entry["conditions"], f"conditions of {what}"),
        None if entry["found_at"] is None else fields.printable(entry["found_at"], what),
        None if entry["records"] is None else _records(entry["records"], f"records of {what}"),
        None,
        fields.time(entry["at"], f"time of {what}"),
    )
    settled = fields.time(entry["settled"], f"end of the window of {what}")
    return Known(
        look, fields.count(entry["changes"], what), settled, fields.count(entry["longest"], what)
    )


def parse(data: bytes, source: str) -> dict[str, Known]:
    """Read the content of the file.

    Args:
        data: The content.
        source: Its path, for messages.

    Raises:
        FormatError: It is not what `build` writes (``watch-state``).
    """
    try:
        if len(data) > MAX or not data.isascii():
            fields.refuse("it", f"ASCII of {MAX} bytes at most")
        table = fields.strict_json(data.decode("ascii"), "it")
        if table.keys() != {"version", "names"} or not isinstance(table["names"], dict):
            fields.refuse("it", "an object of version and names")
        if table["version"] != VERSION:
            fields.refuse("version", str(VERSION))
        return {name: _known(name, value) for name, value in table["names"].items()}
    except errors.FormatError as error:
        raise errors.FormatError(
            f"{source} is no memory of what was seen: {error}",
            code="watch-state",
            hint="move it away; the next round then tells every name anew",
        ) from error


def read(path: str) -> dict[str, Known]:
    """Read the file; one that is not there remembers nothing.

    Raises:
        FormatError: As `parse`.
        TransportError: It cannot be read (``file-unreadable``).
    """
    try:
        data = outside.read(path, MAX)
    except errors.TransportError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return {}
        raise
    return parse(data, path)

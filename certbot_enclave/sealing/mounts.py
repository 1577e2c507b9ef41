# SPDX-License-Identifier: Apache-2.0
"""What is mounted where, as this process sees it: ``/proc/self/mountinfo`` (proc(5))."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from certbot_enclave import errors

_ESCAPED = re.compile(rb"\\([0-7]{3})")  # blanks, line ends and backslashes in names


class Mount(NamedTuple):
    """One mount.

    Attributes:
        number: Its mount ID.
        point: Where it is.
        kind: Type of its file system, e.g. ``ext4``.
    """

    number: int
    point: Path
    kind: str


def _name(field: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 8)]), field))


def parse(text: bytes) -> tuple[Mount, ...]:
    """Read a mount table.

    Args:
        text: As in ``/proc/PID/mountinfo``. Optional fields end with a hyphen of their own.

    Raises:
        ValueError: It is none.
    """
    found = []
    for line in text.splitlines():
        before, separator, after = line.partition(b" - ")
        number, _parent, _device, _root, point, *_more = before.split(b" ")
        if not separator:
            raise ValueError(f"no hyphen in {line!r}")
        found.append(Mount(int(number), Path(_name(point)), _name(after.split(b" ")[0])))
    return tuple(found)


def read() -> tuple[Mount, ...]:
    """Return all mounts.

    Raises:
        TransportError: There is no table, or it cannot be read (``mounts-unreadable``).
    """
    try:
        return parse(Path("/proc/self/mountinfo").read_bytes())
    except (OSError, ValueError) as error:
        raise errors.TransportError(
            f"cannot tell what is mounted: {error}",
            code="mounts-unreadable",
            hint="the enclave needs /proc",
        ) from error


def number_of(descriptor: int) -> int:
    """Return the ID of the mount that an open file is on; -1 if the kernel does not tell.

    Two mounts can have the same device, and one can hide another, so nobody else can.

    Raises:
        OSError: It is not open.
    """
    text = Path(f"/proc/self/fdinfo/{descriptor}").read_text(encoding="ascii")
    found = re.search(r"^mnt_id:\s*([0-9]+)$", text, re.MULTILINE)
    return int(found[1]) if found else -1

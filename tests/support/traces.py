# SPDX-License-Identifier: Apache-2.0
"""Find a secret number wherever it was written, in every form that key formats give it."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from pathlib import Path

_BLANKS = bytes(range(0x21))


def _base64(secret: bytes, alphabet: str) -> set[bytes]:
    """Return what base64 of any text around the secret must contain, at its three offsets."""
    encode = base64.b64encode if alphabet == "standard" else base64.urlsafe_b64encode
    found = set()
    for offset in range(3):
        text = encode(bytes(offset) + secret).rstrip(b"=")
        # The first characters hold bits of what stands before, the last those of what follows.
        start = (offset * 8 + 5) // 6
        end = (offset + len(secret)) * 8 // 6
        found.add(text[start:end])
    return found


def forms(secret: bytes) -> set[bytes]:
    """Return the texts and bytes to look for: raw, hex, decimal, base64 and base64url."""
    hexadecimal = secret.hex().encode()
    return {
        secret,
        hexadecimal,
        hexadecimal.upper(),
        str(int.from_bytes(secret, "big")).encode(),
        *_base64(secret, "standard"),
        *_base64(secret, "url"),
    }


def holds(data: bytes, secret: bytes) -> bool:
    """Return True if the data holds the secret, with or without white space or escapes in it."""
    # JSON writes line feeds as \n, and hex dumps put colons between bytes.
    squeezed = data.replace(rb"\n", b"").translate(None, _BLANKS)
    colons = squeezed.replace(b":", b"")
    return any(form in text for form in forms(secret) for text in (data, squeezed, colons))


def search(roots: Iterable[Path], secret: bytes) -> list[Path]:
    """Return every file below the roots that holds the secret, in content or in its name."""
    return [
        path
        for root in roots
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and (holds(path.read_bytes(), secret) or holds(str(path).encode(), secret))
    ]


def processes(group: int, secret: bytes) -> list[str]:
    """Return arguments and environments that hold the secret, of all processes of a session."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            session = int((process / "stat").read_text().rpartition(")")[2].split()[3])
            if session != group:
                continue
            found += [
                f"{process.name}/{name}"
                for name in ("cmdline", "environ")
                if holds((process / name).read_bytes(), secret)
            ]
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return found

# SPDX-License-Identifier: Apache-2.0
"""A reader of BER (ITU-T X.690), as far as a CMS envelope of the key service needs it.

One value, one tree: tags of one byte, lengths in their shortest form, or the indefinite length that
the key service uses. Whatever DER forbids beyond that is refused.
"""

from __future__ import annotations

from typing import NamedTuple

from certbot_enclave import errors

MAX_DEPTH = 12
SEQUENCE, SET, OCTETS, INTEGER, OID, NULL = 0x30, 0x31, 0x04, 0x02, 0x06, 0x05
_CONSTRUCTED = 0x20


class Node(NamedTuple):
    """One value.

    Attributes:
        tag: Its identifier octet.
        data: Contents of a primitive value; empty if constructed.
        parts: Values inside a constructed one; empty if primitive.
    """

    tag: int
    data: bytes = b""
    parts: tuple[Node, ...] = ()


def _malformed(what: str) -> errors.FormatError:
    return errors.FormatError(
        f"envelope of the key service: no BER: {what}",
        code="ber-malformed",
        hint="is the endpoint that of the key service? what it answered was cut short or changed",
    )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        taken = self._data[self.at : self.at + count]
        if len(taken) != count:
            raise _malformed(f"{count} bytes expected at offset {self.at}")
        self.at += count
        return taken

    def _length(self) -> int | None:
        """Return a length (X.690 §8.1.3); None if it is indefinite."""
        first = self.take(1)[0]
        if first < 0x80:
            return first
        if first == 0x80:
            return None
        if first > 0x82:
            raise _malformed("length of more than two bytes")
        rest = self.take(first & 0x7F)
        length = int.from_bytes(rest, "big")
        if length < (0x80 if len(rest) == 1 else 0x100):
            raise _malformed("length is not in its shortest form")
        return length

    def _parts(self, end: int | None, depth: int) -> tuple[Node, ...]:
        parts = []
        while self.at != end:
            if end is None and self._data[self.at : self.at + 2] == b"\0\0":
                self.at += 2
                break
            parts.append(self.node(depth + 1))
            if end is not None and self.at > end:
                raise _malformed("a value ends behind the one around it")
        return tuple(parts)

    def node(self, depth: int = 0) -> Node:
        """Read one value and all that is in it."""
        if depth > MAX_DEPTH:
            raise _malformed(f"more than {MAX_DEPTH} levels")
        tag = self.take(1)[0]
        if (tag & 0x1F in (0, 0x1F) and tag & 0xC0 == 0) or tag & 0x1F == 0x1F:
            raise _malformed(f"tag {tag:#04x}")
        length = self._length()
        if tag & _CONSTRUCTED:
            return Node(tag, parts=self._parts(None if length is None else self.at + length, depth))
        if length is None:
            raise _malformed("indefinite length of a primitive value")
        return Node(tag, self.take(length))


def loads(data: bytes) -> Node:
    """Read exactly one value.

    Raises:
        FormatError: It is none, in another form, or something stands behind it
            (``ber-malformed``).
    """
    reader = _Reader(data)
    node = reader.node()
    if reader.at != len(data):
        raise _malformed("bytes behind the end")
    return node

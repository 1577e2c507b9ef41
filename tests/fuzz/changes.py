# SPDX-License-Identifier: Apache-2.0
"""Small changes to bytes: bits, bytes, lengths, ranges, splices, and pieces of the format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

Change = Callable[[Random, bytearray, Sequence[bytes]], None]

# Heads and items of CBOR that are at an edge, or outside of what is read (RFC 8949 §3).
CBOR = tuple(
    bytes.fromhex(text)
    for text in (
        # Every form of a number, least and greatest, shortest or not.
        *("00", "17", "1817", "1818", "18ff", "190017", "1900ff", "190100", "19ffff"),
        *("1a0000ffff", "1a00010000", "1affffffff", "1b00000000ffffffff", "1b0000000100000000"),
        *("1b7fffffffffffffff", "1bffffffffffffffff", "20", "3800", "3818", "3bffffffffffffffff"),
        # Strings, arrays and maps: empty, small, greater than any input.
        *("40", "41", "5800", "5818", "590100", "59ffff", "5a00000001", "5bffffffffffffffff"),
        *("60", "61", "6161", "62c3a9", "61ff", "63eda080", "62c080", "7800", "7bffffffffffffffff"),
        *("80", "81", "8100", "9800", "990101", "9a00000001", "9affffffff", "9bffffffffffffffff"),
        *("a0", "a1", "a10000", "b800", "b90101", "ba00000001", "baffffffff", "bbffffffffffffffff"),
        # Indefinite lengths and the forms that are reserved.
        *("1c", "1d", "1e", "1f", "3c", "3f", "5c", "5f", "5fff", "5f4100ff", "7f", "7f6161ff"),
        *("9f", "9fff", "9f00ff", "9c", "bf", "bfff", "bf0000ff", "bc", "dc", "df", "fc", "ff"),
        # Nesting, tags, simple values, floats.
        *("81818181", "8181818181", "a100a100", "9f9f9f9f", "a18000", "a1a000", "a14000", "a1f600"),
        *("c000", "c24101", "c349ffffffffffffffffff", "d2", "d81c", "d81d00", "d9d9f7", "dbff"),
        *("f4", "f5", "f6", "f7", "f8", "f8f6", "f820", "f93c00", "f97e00", "fa7f800000"),
        *("fb3ff0000000000000", "a2000000f6", "a2616100616100", "a20101f502"),
    )
)
EDGES = (0, 1, 0x17, 0x18, 0x1F, 0x7F, 0x80, 0xFF, 0x100, 0x400, 0xFFFF, 0x10000, 0x7FFFFFFF)


def below(random: Random, end: int) -> int:
    """Return a number from 0 to `end` - 1; quicker than `randrange`."""
    return int(random.random() * end)


def _bit(random: Random, data: bytearray, _pieces: Sequence[bytes]) -> None:
    data[below(random, len(data))] ^= 1 << below(random, 8)


def _byte(random: Random, data: bytearray, _pieces: Sequence[bytes]) -> None:
    data[below(random, len(data))] = below(random, 256)


def _step(random: Random, data: bytearray, _pieces: Sequence[bytes]) -> None:
    """Tweak a byte by little: often a length."""
    at = below(random, len(data))
    data[at] = (data[at] + below(random, 9) - 4) % 256


def _number(random: Random, data: bytearray, _pieces: Sequence[bytes]) -> None:
    """Write a number at an edge, in 1 to 8 bytes, over what is there."""
    at, size = below(random, len(data)), 1 << below(random, 4)
    value = EDGES[below(random, len(EDGES))]
    if random.random() < 0.3:
        value = -value - 1
    data[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "big")[: len(data) - at]


def _range(random: Random, data: bytearray) -> tuple[int, int]:
    at = below(random, len(data))
    longest = 8 if random.random() < 0.7 else len(data)
    return at, min(len(data), at + 1 + below(random, longest))


def _delete(random: Random, data: bytearray, _pieces: Sequence[bytes]) -> None:
    start, end = _range(random, data)
    del data[start:end]


def _double(random: Random, data: bytearray, _pieces: Sequence[bytes]) -> None:
    start, end = _range(random, data)
    data[end:end] = data[start:end]


def _move(random: Random, data: bytearray, _pieces: Sequence[bytes]) -> None:
    start, end = _range(random, data)
    piece = data[start:end]
    del data[start:end]
    at = below(random, len(data) + 1)
    data[at:at] = piece


def _insert(random: Random, data: bytearray, pieces: Sequence[bytes]) -> None:
    at = below(random, len(data) + 1)
    data[at:at] = pieces[below(random, len(pieces))]


def _overwrite(random: Random, data: bytearray, pieces: Sequence[bytes]) -> None:
    at = below(random, len(data))
    piece = pieces[below(random, len(pieces))]
    data[at : at + len(piece)] = piece


def _cut(random: Random, data: bytearray, _pieces: Sequence[bytes]) -> None:
    del data[below(random, len(data)) :]


def _append(random: Random, data: bytearray, pieces: Sequence[bytes]) -> None:
    data += pieces[below(random, len(pieces))]


_CHANGES: tuple[Change, ...] = (
    *(_bit, _bit, _byte, _step, _step, _number, _delete, _double, _move),
    *(_insert, _insert, _overwrite, _overwrite, _cut, _append),
)


def splice(random: Random, one: bytes, other: bytes) -> bytes:
    """Join the beginning of one input and the end of another."""
    return one[: below(random, len(one) + 1)] + other[below(random, len(other) + 1) :]


def change(random: Random, data: bytes, pieces: Sequence[bytes]) -> bytes:
    """Return bytes with one to four changes.

    Args:
        random: Source of every choice.
        data: What to start from.
        pieces: Of the format, to be put somewhere.
    """
    changed = bytearray(data)
    for _ in range(1 + int(4 * random.random() ** 3)):
        if not changed:
            break
        _CHANGES[below(random, len(_CHANGES))](random, changed, pieces)
    return bytes(changed)

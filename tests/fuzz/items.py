# SPDX-License-Identifier: Apache-2.0
"""Items of CBOR out of nothing: mostly in the one form that is read, sometimes just beside it."""

from __future__ import annotations

from random import Random

from tests.fuzz.changes import CBOR, below

_ODD = 0.03  # how often a head is in a form that is not the shortest
_TEXTS = ("", "a", "b", "ü", "𐅑", "pcrs", "module_id", "\0", "x" * 24)
_SIZES = ((24, 1), (25, 2), (26, 4), (27, 8))


def _head(random: Random, major: int, value: int) -> bytes:
    first = major << 5
    forms = [(info, size) for info, size in _SIZES if value < 1 << 8 * size]
    if random.random() < _ODD:
        info, size = forms[below(random, len(forms))]
        return bytes((first | info,)) + value.to_bytes(size, "big")
    if value < 24:
        return bytes((first | value,))
    info, size = forms[0]
    return bytes((first | info,)) + value.to_bytes(size, "big")


def _number(random: Random) -> int:
    value = below(random, 30)
    return value if random.random() < 0.6 else (1 << below(random, 65)) - value % 2 & (1 << 64) - 1


def _text(random: Random) -> bytes:
    text = _TEXTS[below(random, len(_TEXTS))].encode()
    return _head(random, 3, len(text)) + text


def _key(random: Random) -> bytes:
    choice = random.random()
    if choice < 0.5:
        return _head(random, 0, below(random, 6))
    if choice < 0.95:
        return _text(random)
    return item(random, 5)


def _container(random: Random, depth: int, major: int) -> bytes:
    count = below(random, 4) if random.random() < 0.98 else below(random, 300)
    inside = [
        (_key(random) if major == 5 else b"") + item(random, depth + 1 if count < 10 else 9)
        for _ in range(count)
    ]
    if random.random() < _ODD:
        return bytes((major << 5 | 31,)) + b"".join(inside) + b"\xff"
    return _head(random, major, count) + b"".join(inside)


def item(random: Random, depth: int = 0) -> bytes:
    """Make one item; containers become rare as they go deeper."""
    choice = random.random() + depth * 0.07
    if choice < 0.3:
        return _container(random, depth, 5)
    if choice < 0.6:
        return _container(random, depth, 4)
    choice = random.random()
    if choice < 0.25:
        return _head(random, below(random, 2), _number(random))
    if choice < 0.5:
        size = below(random, 6) if random.random() < 0.95 else below(random, 300)
        return _head(random, 2, size) + bytes((below(random, 256),)) * size
    if choice < 0.75:
        return _text(random)
    if choice < 0.96:
        return b"\xf6"
    return CBOR[below(random, len(CBOR))]

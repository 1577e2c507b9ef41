# SPDX-License-Identifier: Apache-2.0
"""CBOR, read by our reader and by cbor2.

cbor2 reads all of RFC 8949, so whatever ours accepts, cbor2 must accept as the same value, and what
only ours refuses must have the fault that its code names, as far as cbor2 can tell.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from random import Random
from typing import Any, NamedTuple

import cbor2

from certbot_enclave import errors
from certbot_enclave.attestation import cbor
from tests.fuzz import changes, items
from tests.fuzz.changes import below


class Disagreement(AssertionError):
    """The two readers do not agree."""


# RFC 8949, appendix A: one of each kind, and what is left out of our form.
SEEDS = tuple(
    bytes.fromhex(text)
    for text in (
        *("00", "1864", "1b000000e8d4a51000", "3903e7", "c249010000000000000000", "f97bff"),
        *("fb7e37e43c8800759c", "f4", "f5", "f6", "f7", "f0", "f8ff", "c11a514b67b0", "4401020304"),
        *("d818456449455446", "6449455446", "62c3bc", "64f0908591", "83010203", "8301820203820405"),
        *("98190102030405060708090a0b0c0d0e0f101112131415161718181819", "a201020304"),
        *("a26161016162820203", "826161a161626163", "a56161614161626142616361436164614461656145"),
        *("5f42010243030405ff", "7f657374726561646d696e67ff", "9f018202039f0405ffff"),
        *("83018202039f0405ff", "bf61610161629f0203ffff", "826161bf61626163ff", "bf0102036161ff"),
        *("818181818100", "81818100", "a1a100a100a100", "a2010203a2040506f6"),
    )
)


def _tagged(number: int) -> Callable[[Any, bool], Any]:
    return lambda value, _immutable: cbor2.CBORTag(number, value)


# cbor2 would make dates, numbers and more of tagged items; here a tag stays one.
_KNOWN_TAGS = (*range(6), 25, 28, 29, 30, 35, 36, 37, 43000, 52, 54, 100, 256, 258, 260, 261, 1004)
_TAGS = {number: _tagged(number) for number in (*_KNOWN_TAGS, 55799)}


class _Other(NamedTuple):
    """What cbor2 made of the first item: its value, and how many bytes it has."""

    value: Any
    size: int


def _other(data: bytes, **options: bool) -> _Other | None:
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(stream, semantic_decoders=_TAGS, **options).decode()  # type: ignore[arg-type]
    except (cbor2.CBORDecodeError, ValueError, TypeError, RecursionError):
        return None
    return _Other(value, stream.tell())


_CONTAINERS = (list, tuple, dict, cbor2.frozendict)


def _depth(value: Any) -> int:
    """Return how many levels a value has: 0 for one that is no container."""
    if not isinstance(value, _CONTAINERS):
        return 0
    inside = [*value, *value.values()] if isinstance(value, dict | cbor2.frozendict) else value
    return 1 + max((_depth(item) for item in inside), default=0)


def _all(value: Any) -> list[Any]:
    """Return a value and everything in it."""
    found = [value]
    for item in found:
        if isinstance(item, cbor2.CBORTag):
            continue
        if isinstance(item, dict | cbor2.frozendict):
            found += [*item, *item.values()]
        elif isinstance(item, list | tuple):
            found += item
    return found


def _has_other_type(value: Any) -> bool:
    known = (int, str, bytes, type(None), *_CONTAINERS)
    return any(isinstance(item, bool) or not isinstance(item, known) for item in _all(value))


def _has_other_key(value: Any) -> bool:
    maps = [item for item in _all(value) if isinstance(item, dict | cbor2.frozendict)]
    return any(type(key) not in (int, str) for table in maps for key in table)


def _has_many(value: Any) -> bool:
    groups = [item for item in _all(value) if isinstance(item, _CONTAINERS)]
    return any(len(group) > cbor.MAX_ITEMS for group in groups)


# Code -> whether an input that cbor2 reads has that fault. A code that is not here must not refuse
# such an input at all.
FAULTS: dict[str, Callable[[bytes, _Other], bool]] = {
    "cbor-trailing": lambda data, other: other.size < len(data),
    "cbor-overlong": lambda data, other: cbor2.dumps(other.value) != data[: other.size],
    "cbor-indefinite": lambda data, _other_: _other(data, allow_indefinite=False) is None,
    "cbor-duplicate": lambda data, _other_: _other(data, allow_duplicate_keys=False) is None,
    "cbor-type": lambda _data, other: _has_other_type(other.value),
    "cbor-key": lambda _data, other: _has_other_key(other.value),
    "cbor-size": lambda data, other: len(data) > cbor.MAX_BYTES or _has_many(other.value),
    "cbor-depth": lambda _data, other: _depth(other.value) > cbor.MAX_DEPTH,
}


def _has_fault(code: str, data: bytes, other: _Other) -> bool:
    if code not in FAULTS:
        return False
    # Of a key that is there twice cbor2 keeps one value: the fault may be in the other.
    return FAULTS[code](data, other) or FAULTS["cbor-duplicate"](data, other)


def _rewritten(data: bytes, value: Any, *, indefinite: bool) -> bool:
    """Tell whether writing the value gives the bytes again, by our writer and by cbor2's."""
    if cbor.dumps(value, indefinite_map=indefinite) != data:
        return False
    body = cbor2.dumps(value)
    if indefinite:  # cbor2 writes a map of known length
        head = len(cbor2.dumps([None] * len(value))) - len(value)
        return data == b"\xbf" + body[head:] + b"\xff"
    return body == data


def compare(data: bytes, *, indefinite_map: bool = False, booleans: bool = False) -> None:
    """Read bytes with both.

    Raises:
        FormatError: Ours refuses them, and cbor2 does not say otherwise.
        Disagreement: They do not agree.
    """
    other = _other(data)
    try:
        value = cbor.loads(data, indefinite_map=indefinite_map, booleans=booleans)
    except errors.FormatError as error:
        if other is None:
            if error.code == "cbor-trailing":  # then something well-formed came before
                raise Disagreement("only ours finds an item here") from error
        elif not _has_fault(error.code, data, other):
            raise Disagreement(f"only ours finds the fault {error.code}: {error}") from error
        raise
    if other is None or other.size != len(data):
        raise Disagreement("only ours accepts")
    if repr(value) != repr(other.value):  # which tells types apart, and the order of keys
        raise Disagreement(f"ours is {value!r}, cbor2's is {other.value!r}")
    if booleans:
        if cbor2.dumps(value) != data:
            raise Disagreement("accepted in a form that is not the one it is written in")
    elif not _rewritten(data, value, indefinite=indefinite_map and data[0] == 0xBF):
        raise Disagreement("accepted in a form that is not the one it is written in")


def make(random: Random) -> bytes:
    """Make bytes that are CBOR, or nearly."""
    choice = random.random()
    if choice < 0.55:
        return items.item(random)
    if choice < 0.85:
        return changes.change(random, items.item(random), changes.CBOR)
    seed = SEEDS[below(random, len(SEEDS))]
    if choice < 0.95:
        return changes.change(random, seed, changes.CBOR)
    return changes.splice(random, seed, items.item(random))


def judge(data: bytes) -> None:
    """Compare the readers in every mode; the outcome is that of documents' mode.

    Raises:
        FormatError: Ours refuses the bytes.
        Disagreement: They do not agree.
    """
    for options in ({}, {"booleans": True}):
        try:
            compare(data, **options)
        except errors.FormatError:
            continue
    compare(data, indefinite_map=True)

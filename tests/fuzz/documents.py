# SPDX-License-Identifier: Apache-2.0
"""COSE_Sign1 messages and attestation documents: nobody's signature covers what was changed."""

from __future__ import annotations

from random import Random
from typing import Any

import cbor2

from certbot_enclave.attestation import cbor, cose, document
from tests.fuzz import changes, der, items, seeds
from tests.fuzz.changes import below

# Mostly the short one: every certificate costs a signature.
SEEDS = tuple(seeds.read(f"document-{name}") for name in ("short", "short", "short", "long", "old"))
MESSAGES = tuple(map(cose.parse, SEEDS))
PAYLOADS = tuple(message.payload for message in MESSAGES)
TABLES: tuple[dict[str, Any], ...] = tuple(
    cbor.loads(payload, indefinite_map=True) for payload in PAYLOADS
)
ROOT: bytes = TABLES[0]["cabundle"][0]
_CERTIFICATES = tuple(
    [der.parse(one)[0] for one in (table["certificate"], *table["cabundle"])] for table in TABLES
)
_PROTECTED = cbor.dumps(cose.PROTECTED)
_SMALL = (b"\x58\x60" + bytes(96), b"\x44\xa1\x01\x38\x22", b"\xa0", b"\x84", b"\xd2\x84")


def _message(payload: bytes, signature: bytes) -> bytes:
    return b"\x84" + _PROTECTED + b"\xa0" + cbor.dumps(payload) + cbor.dumps(signature)


# --- COSE ---


def make_cose(random: Random) -> bytes:
    """Make a message with a small payload, or nearly one."""
    choice = random.random()
    if choice < 0.5:
        payload, size = items.item(random), 96 if random.random() < 0.8 else below(random, 200)
        made = _message(payload, random.randbytes(size))
        return made if choice < 0.05 else changes.change(random, made, (*changes.CBOR, *_SMALL))
    if choice < 0.8:  # four parts, each in its place or something else
        parts = [_PROTECTED, b"\xa0", b"\x41\x00", _SMALL[0]]
        for at in range(4):
            if random.random() < 0.3:
                parts[at] = items.item(random, 1)
        if random.random() < 0.1:
            parts.insert(below(random, 5), items.item(random, 1))
        return bytes((0x80 + len(parts),)) + b"".join(parts)
    return changes.change(random, SEEDS[below(random, 3)], (*changes.CBOR, *_SMALL))


def judge_cose(data: bytes) -> None:
    """Read a message; there is one way to write it.

    Raises:
        FormatError: It is refused.
        AssertionError: It was accepted in another form.
    """
    found = cose.parse(data)
    if _message(found.payload, found.signature) != data:
        raise AssertionError("accepted in a form that is not the one it is written in")


# --- documents ---

_ODD: tuple[Any, ...] = (
    *(None, 0, 1, -1, 31, 32, 1 << 43, (1 << 64) - 1, -(1 << 64), "", "SHA384", "SHA512", "é"),
    *(b"", b"\0", bytes(48), bytes(47), bytes(1024), bytes(1025), [], [b""], [None], {}, {0: b""}),
    *("i-0-enc0", "-enc", "x" * 256, [b"\0"] * 9, {index: bytes(48) for index in range(33)}),
)
_NAMES = ("nitrotpm_pcrs", "extra", "")


def _odd(random: Random) -> Any:
    return _ODD[below(random, len(_ODD))]


def _change_table(random: Random, table: dict[str, Any], other: dict[str, Any]) -> None:
    """Change one field, or a part of one."""
    names = list(table)
    name, choice = names[below(random, len(names))], random.random()
    value = table[name]
    if choice < 0.1:
        del table[name]
    elif choice < 0.2:
        table[_NAMES[below(random, len(_NAMES))]] = _odd(random)
    elif choice < 0.4:
        table[name] = other.get(name)
    elif choice < 0.6 or not value:
        table[name] = _odd(random)
    elif isinstance(value, dict):
        table[name] = {**value, below(random, 34): _odd(random)}
    elif isinstance(value, list):
        listed = list(value)
        listed[below(random, len(listed))] = random.choice((*other["cabundle"], _odd(random)))
        table[name] = listed
    elif isinstance(value, bytes):
        table[name] = changes.change(random, value, changes.CBOR)
    elif isinstance(value, int):
        table[name] = abs(value + below(random, 1 << 34) - (1 << 33)) % (1 << 64)
    else:
        table[name] = value[: below(random, len(value))] + random.choice(("", "-enc", "\0", "ü"))


def _changed_payload(random: Random, at: int) -> bytes:
    if random.random() < 0.5:
        return changes.change(random, PAYLOADS[at], changes.CBOR)
    table = dict(TABLES[at])
    for _ in range(1 + below(random, 2)):
        if table:
            _change_table(random, table, TABLES[below(random, len(TABLES))])
    return cbor.dumps(table, indefinite_map=random.random() < 0.7)


def _quoting(random: Random, leaf: der.Node) -> bytes:
    """Return a leaf whose serial number says again, with changes, what comes behind it.

    It is so long that its length takes two bytes, and says so where a reader would look next that
    expects one byte.
    """
    made = leaf.copy()
    for signed in (made.inside or [])[:1]:
        fields = signed.inside or []
        behind = b"".join([node.encoded() for node in fields[2:6]])
        fields[1].content = b"\1" * (0x81 - 1) + changes.change(random, behind, der.PIECES)
    return made.encoded()


def _changed_certificate(random: Random, at: int) -> bytes:
    trees = _CERTIFICATES[at]
    which = 0 if random.random() < 0.8 else below(random, len(trees))  # the leaf, mostly
    if which or random.random() < 0.95:
        changed = der.change(random, trees[which])
    else:
        changed = _quoting(random, trees[0])
    table = dict(TABLES[at])
    if which:
        table["cabundle"] = [*table["cabundle"]]
        table["cabundle"][which - 1] = changed
    else:
        table["certificate"] = changed
    return cbor.dumps(table)


def make_document(random: Random) -> bytes:
    """Make a payload alone, or in a message that its leaf signed before it was changed."""
    choice, at = random.random(), below(random, len(SEEDS))
    if choice < 0.5:
        return _changed_payload(random, at)
    if choice < 0.7:
        return _message(_changed_payload(random, at), MESSAGES[at].signature)
    if choice < 0.95:
        return _message(_changed_certificate(random, at), MESSAGES[at].signature)
    if choice < 0.999:
        return changes.change(random, SEEDS[at], changes.CBOR)
    return SEEDS[at]


def judge_document(data: bytes) -> None:
    """Read a payload, or authenticate a message, which begins as an array does.

    Raises:
        FormatError: It is refused.
        VerificationError: Likewise.
        AssertionError: It was accepted, and either is not what was signed or reads differently.
    """
    if data[:1] == b"\x84":
        found = document.authenticate(data, trust_root=ROOT)
        payload = cose.parse(data).payload
        if payload not in PAYLOADS:
            raise AssertionError("authenticated, but nobody signed it")
    else:
        found, payload = document.parse(data), data
    table = cbor2.loads(payload)
    same = (
        (found.module_id, found.timestamp_ms) == (table["module_id"], table["timestamp"])
        and dict(found.pcrs) == table["pcrs"]
        and [*found.cabundle, found.certificate] == [*table["cabundle"], table["certificate"]]
        and all(
            getattr(found, name) == table.get(name) for name in ("public_key", "user_data", "nonce")
        )
    )
    if not same:
        raise AssertionError(f"reads {found}, cbor2 reads {table}")

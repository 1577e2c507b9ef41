# SPDX-License-Identifier: Apache-2.0
"""Envelopes of AWS KMS: whoever answers at its endpoint may not bring the enclave down."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from certbot_enclave.aws import cms as reader
from certbot_enclave.aws.ber import OCTETS, OID
from tests.fuzz import changes, der
from tests.fuzz.changes import below
from tests.support import cms
from tests.support.cms import tlv

# Only the sizes matter: nothing is decrypted.
_FIXED: dict[str, Any] = {"encrypted_key": bytes(range(256)), "content": b"c" * 48, "iv": b"i" * 16}
_SERIAL = tlv(
    0x30, tlv(0x30, tlv(0x31, tlv(0x30, cms.oid("data"), tlv(0x0C, b"KMS")))), tlv(2, b"1")
)
_BY_SERIAL: dict[str, Any] = {"rid": _SERIAL, "version": 0, "outer_version": 0}
_DIGESTS = (cms.digest("sha256"), cms.digest("sha256", b""))
PIECES = (
    *der.PIECES,
    *(cms.oid(name) for name in cms.OIDS),
    *(tlv(0x80, b"rid"), tlv(0xA0, tlv(4, b"piece")), tlv(4, b"piece"), tlv(0x31), _SERIAL),
    *(
        bytes.fromhex(text)
        for text in ("a080", "2480", "248004017800000000", "3180", "a180", "a100")
    ),
)
_NAMES = ("oaep", "sha256", "mgf1", "sha256", "data", "aes256")
_ODD: dict[str, tuple[Any, ...]] = {
    "algorithm": (cms.oaep(cms.digest("sha1")), cms.oaep(mask=cms.digest("sha384")), b"", _SERIAL),
    "content_algorithm": (tlv(0x30, cms.oid("aes128"), tlv(4, b"i" * 16)), tlv(0x30), b""),
    "kind": ("data", "signed"),
    "content_kind": ("signed", "enveloped"),
    "version": (0, 1, 2, 3),
    "outer_version": (0, 1, 2, 3),
    "recipients": ([], [b"", b""], [tlv(0x30)]),
    "rid": (b"", tlv(0x81, b"rid"), tlv(0xA0, tlv(0x80, b"rid")), _SERIAL),
    "form": (0x80, 0xA0, 0x24, 0xA1),
    "pieces": ([], [tlv(4)], [tlv(0x24, tlv(4, b"x"))], [tlv(2, b"x")]),
    "attributes": (tlv(0xA1), tlv(0x30), b"\0\0"),
    "wrapper": (0x31, 0x24, 0xB0),
}


def _seal(**other: Any) -> bytes:
    public: Any = rsa.RSAPublicKey  # is not asked, since the encrypted key is given
    return cms.seal(public, b"", **{**_FIXED, **other})


_TREES = tuple(der.parse(_seal(ber=False, **rid))[0] for rid in ({}, _BY_SERIAL))


def _true(random: Random) -> dict[str, Any]:
    """Choose among what is accepted."""
    first, mask = _DIGESTS[below(random, 2)], _DIGESTS[below(random, 2)]
    other: dict[str, Any] = {"ber": random.random() < 0.6, "algorithm": cms.oaep(first, mask)}
    if random.random() < 0.3:
        other |= _BY_SERIAL
    if random.random() < 0.5:
        parts = [random.randbytes(below(random, 200)) for _ in range(below(random, 6))]
        other |= {"pieces": [tlv(4, part) for part in parts], "form": 0xA0}
    return other


def make(random: Random) -> bytes:
    """Make an envelope: as it should be, with odd parts, with changed elements or bytes."""
    choice, other = random.random(), _true(random)
    if choice < 0.1:
        return _seal(**other)
    if choice < 0.3:
        for _ in range(1 + below(random, 2)):
            name = random.choice(list(_ODD))
            other[name] = random.choice(_ODD[name])
        return _seal(**other)
    if choice < 0.6:
        return der.change(random, _TREES[below(random, len(_TREES))])
    if choice < 0.95:
        return changes.change(random, _seal(**other), PIECES)
    return changes.splice(random, _seal(**other), _seal(**_true(random)))


def _leaves(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of every primitive value, in order, whosever part it is."""
    at = 0
    while at < len(data):
        tag, size = data[at], data[at + 1]
        at += 2
        if size > 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[at : at + count], "big")
            at += count
        if not tag & 0x20 and tag:  # neither constructed nor the end of an indefinite length
            yield tag, data[at : at + size]
            at += size


def judge(data: bytes) -> None:
    """Read an envelope; what it gives is where it should be.

    Raises:
        FormatError: It is refused.
        AssertionError: It was accepted, and another reader finds something else.
    """
    key, iv, content = reader.parse(data)
    leaves = list(_leaves(data))
    # The last OID is that of the cipher: behind it there are only octets, before it the kind of the
    # content, and before that the key.
    at = max(place for place, (tag, _) in enumerate(leaves) if tag == OID)
    names = [tlv(OID, part) for tag, part in leaves if tag == OID]
    pieces = leaves[at + 2 :]
    good = (
        (leaves[at - 2], leaves[at + 1]) == ((OCTETS, key), (OCTETS, iv))
        and b"".join(part for _, part in pieces) == content
        and {tag for tag, _ in pieces} <= {OCTETS, 0x80}
        and names[0] == cms.oid("enveloped")
        and names[-6:] == [cms.oid(name) for name in _NAMES]
    )
    if not good:
        raise AssertionError(f"reads {(key, iv, content)!r}, there are {leaves!r}")

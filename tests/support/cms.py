# SPDX-License-Identifier: Apache-2.0
"""Envelopes as the key service makes them, in which one thing at a time can be different."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256

OIDS = {
    "enveloped": "06092a864886f70d010703",
    "signed": "06092a864886f70d010702",
    "data": "06092a864886f70d010701",
    "rsa": "06092a864886f70d010101",
    "oaep": "06092a864886f70d010107",
    "mgf1": "06092a864886f70d010108",
    "sha1": "06052b0e03021a",
    "sha256": "0609608648016503040201",
    "sha384": "0609608648016503040202",
    "aes128": "0609608648016503040102",
    "aes256": "060960864801650304012a",
    "aes256gcm": "060960864801650304012e",
}
NULL = b"\x05\x00"


def oid(name: str) -> bytes:
    return bytes.fromhex(OIDS[name])


def tlv(tag: int, *parts: bytes) -> bytes:
    """One value of definite length."""
    body = b"".join(parts)
    if len(body) < 0x80:
        return bytes([tag, len(body)]) + body
    size = (len(body).bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + len(body).to_bytes(size, "big") + body


def open_ended(tag: int, *parts: bytes) -> bytes:
    """One value of indefinite length."""
    return bytes([tag, 0x80]) + b"".join(parts) + b"\0\0"


def digest(name: str, parameters: bytes = NULL) -> bytes:
    return tlv(0x30, oid(name), parameters)


def oaep(
    first: bytes | None = None, mask: bytes | None = None, function: str = "mgf1", *more: bytes
) -> bytes:
    """AlgorithmIdentifier of RSAES-OAEP."""
    first = digest("sha256") if first is None else first
    mask = digest("sha256") if mask is None else mask
    inner = tlv(0x30, tlv(0xA0, first), tlv(0xA1, tlv(0x30, oid(function), mask)), *more)
    return tlv(0x30, oid("oaep"), inner)


def encrypt_content(key: bytes, iv: bytes, plaintext: bytes, pad: bytes | None = None) -> bytes:
    """AES-CBC with PKCS #7 padding, or with other bytes in its place."""
    count = 16 - len(plaintext) % 16
    padded = plaintext + (bytes([count]) * count if pad is None else pad)
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


def seal(public: rsa.RSAPublicKey, plaintext: bytes, *, ber: bool = True, **other: Any) -> bytes:
    """Make an envelope.

    Args:
        public: The recipient's key.
        plaintext: What to seal.
        ber: As the key service does, or in DER.
        **other: What is different: ``key`` and ``iv`` (the content key, the IV), ``pad``,
            ``content`` (the ciphertext), ``encrypted_key``, ``pieces`` (parts of the content, whole
            values), ``form`` (tag of the content), ``rid``, ``version``, ``outer_version``,
            ``algorithm`` (of the key), ``content_algorithm``, ``kind``, ``content_kind``,
            ``recipients``, ``attributes`` (a value at the end), ``wrapper`` (tag of the whole).
    """
    outer = open_ended if ber else tlv
    key, iv = other.get("key", os.urandom(32)), other.get("iv", os.urandom(16))
    content = other.get("content", encrypt_content(key, iv, plaintext, other.get("pad")))
    oaep_padding = padding.OAEP(padding.MGF1(SHA256()), SHA256(), None)
    encrypted_key = other.get("encrypted_key") or public.encrypt(key, oaep_padding)
    recipient = tlv(
        0x30,
        tlv(2, bytes([other.get("version", 2)])),
        other.get("rid", tlv(0x80, bytes(32))),
        other.get("algorithm", oaep()),
        tlv(4, encrypted_key),
    )
    recipients: Sequence[bytes] = other.get("recipients", [recipient])
    if ber or "pieces" in other:
        pieces = other.get("pieces", [tlv(4, content[:16]), tlv(4, content[16:])])
        body = outer(other.get("form", 0xA0), *pieces)
    else:
        body = tlv(other.get("form", 0x80), content)
    info = outer(
        0x30,
        oid(other.get("content_kind", "data")),
        other.get("content_algorithm", tlv(0x30, oid("aes256"), tlv(4, iv))),
        body,
    )
    enveloped = outer(
        0x30,
        tlv(2, bytes([other.get("outer_version", 2)])),
        tlv(0x31, *[recipient if item == b"" else item for item in recipients]),
        info,
        other.get("attributes", b""),
    )
    return outer(
        other.get("wrapper", 0x30), oid(other.get("kind", "enveloped")), outer(0xA0, enveloped)
    )

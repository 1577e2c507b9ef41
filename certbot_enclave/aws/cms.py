# SPDX-License-Identifier: Apache-2.0
"""``CiphertextForRecipient``: the envelope in which the key service hands out a key.

A CMS EnvelopedData (RFC 5652 §6.1) for one recipient, in exactly this shape::

    ContentInfo { envelopedData, [0] EnvelopedData {
      version 2 or 0,
      SET { KeyTransRecipientInfo {
        version and rid: 2 and a subjectKeyIdentifier, or 0 and an issuerAndSerialNumber,
        RSAES-OAEP with SHA-256 and MGF1 of SHA-256 (RFC 4055 §4.1), encryptedKey } },
      { data, AES-256-CBC with its IV (RFC 3565 §4.1), [0] encryptedContent } } }

The key service sends it in BER with indefinite lengths and the content in pieces; others send DER.
Who the recipient is said to be decides nothing: there is one, and the key was made for this reply.
"""

from __future__ import annotations

import itertools

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.padding import PKCS7

from certbot_enclave import errors
from certbot_enclave.aws import ber
from certbot_enclave.aws.ber import INTEGER, NULL, OCTETS, OID, SEQUENCE, SET, Node

MAX_ENVELOPE = 16 * 1024  # bytes; the key service encrypts 4096 bytes at most
_BLOCK = 16  # bytes
_CONTEXT = 0xA0  # [0], constructed
_PIECE = 0x80  # [0], primitive


def _oid(contents: str) -> Node:
    return Node(OID, bytes.fromhex(contents))


_ENVELOPED = _oid("2a864886f70d010703")
_DATA = _oid("2a864886f70d010701")
_RSAES_OAEP = _oid("2a864886f70d010107")
_MGF1 = _oid("2a864886f70d010108")
_SHA256 = _oid("608648016503040201")
_AES256_CBC = _oid("60864801650304012a")


def _sequence(*parts: Node) -> Node:
    return Node(SEQUENCE, parts=parts)


# RFC 4055 §2.1: parameters of a hash function may be NULL or absent.
_HASHES = (_sequence(_SHA256, Node(NULL)), _sequence(_SHA256))
_OAEP = tuple(
    _sequence(
        _RSAES_OAEP,
        _sequence(
            Node(_CONTEXT, parts=(digest,)),
            Node(_CONTEXT + 1, parts=(_sequence(_MGF1, mask),)),
        ),
    )
    for digest, mask in itertools.product(_HASHES, _HASHES)
)


def _refused(what: str) -> errors.FormatError:
    return errors.FormatError(
        f"envelope of the key service: {what}",
        code="kms-envelope-format",
        hint="is the endpoint that of the key service? it answered in a form that nobody knows",
    )


def _fields(node: Node, what: str, *tags: int) -> tuple[Node, ...]:
    """Return the parts of a constructed value, which have exactly these tags."""
    if tuple(part.tag for part in node.parts) != tags:
        raise _refused(f"{what} has other parts than expected")
    return node.parts


def _encrypted_key(recipient: Node) -> bytes:
    tags = [part.tag for part in recipient.parts]
    identifier = _PIECE if _PIECE in tags else SEQUENCE
    version, _, algorithm, key = _fields(
        recipient, "recipient", INTEGER, identifier, SEQUENCE, OCTETS
    )
    if version.data != (b"\x02" if identifier == _PIECE else b"\x00"):  # RFC 5652 §6.2.1
        raise _refused("version of the recipient does not fit its identifier")
    if algorithm not in _OAEP:
        raise _refused("key is not encrypted by RSAES-OAEP with SHA-256")
    return key.data


def _content(info: Node) -> tuple[bytes, bytes]:
    """Return IV and ciphertext."""
    last = info.parts[-1].tag if info.parts else 0
    form = _PIECE if last == _PIECE else _CONTEXT
    kind, algorithm, content = _fields(info, "encrypted content", OID, SEQUENCE, form)
    if kind != _DATA:
        raise _refused("content is no data")
    name, iv = _fields(algorithm, "content encryption", OID, OCTETS)
    if name != _AES256_CBC or len(iv.data) != _BLOCK:
        raise _refused("content is not encrypted by AES-256-CBC")
    if form == _PIECE:
        return iv.data, content.data
    if any(piece.tag != OCTETS for piece in content.parts):
        raise _refused("content is in pieces that are no octet strings")
    return iv.data, b"".join(piece.data for piece in content.parts)


def parse(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Read an envelope.

    Returns:
        The encrypted key, the IV, and the encrypted content.

    Raises:
        FormatError: It has another encoding (``ber-malformed``) or another shape
            (``kms-envelope-format``).
    """
    if len(data) > MAX_ENVELOPE:
        raise _refused(f"{len(data)} bytes, at most {MAX_ENVELOPE} are allowed")
    outer = ber.loads(data)
    if outer.tag != SEQUENCE:
        raise _refused("it is no sequence")
    kind, wrapper = _fields(outer, "message", OID, _CONTEXT)
    if kind != _ENVELOPED:
        raise _refused("it is no enveloped data")
    (enveloped,) = _fields(wrapper, "message", SEQUENCE)
    version, recipients, info = _fields(enveloped, "enveloped data", INTEGER, SET, SEQUENCE)
    if version.data not in (b"\x00", b"\x02"):
        raise _refused("its version is neither 0 nor 2")
    (recipient,) = _fields(recipients, "set of one recipient", SEQUENCE)
    return _encrypted_key(recipient), *_content(info)


def decrypt(data: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """Open an envelope.

    Args:
        data: What the key service sent.
        key: Private half of the public key in the attestation document.

    Returns:
        The content. CBC does not authenticate it: only what it opens does.

    Raises:
        FormatError: See `parse`.
        SealError: It does not open (``kms-envelope``). Which step failed is not told: whoever could
            ask often would learn the content from that.
    """
    encrypted, iv, content = parse(data)
    oaep = padding.OAEP(mgf=padding.MGF1(SHA256()), algorithm=SHA256(), label=None)
    try:
        content_key = key.decrypt(encrypted, oaep)
        # algorithms.AES would take 16 bytes as AES-128.
        decryptor = Cipher(algorithms.AES256(content_key), modes.CBC(iv)).decryptor()
        padded = decryptor.update(content) + decryptor.finalize()
        unpadder = PKCS7(_BLOCK * 8).unpadder()
        return unpadder.update(padded) + unpadder.finalize()
    except ValueError:
        # Without its cause, which names the step.
        raise errors.SealError(
            "envelope of the key service does not open",
            code="kms-envelope",
            hint="it was not made for this request: is the endpoint that of the key service?",
        ) from None

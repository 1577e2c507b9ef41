# SPDX-License-Identifier: Apache-2.0
r"""Envelopes: bytes under a fresh data key that a sealer wraps.

Layout: ``certbot-enclave-sealed-v1\n`` ‖ length of the header (4 bytes, big-endian) ‖ header ‖
ciphertext. The header is JSON: ``kind``, ``sealer`` and ``key`` (who wraps), ``wrapped`` and
``nonce`` (base64), ``fields`` (public facts about the content). Everything before the ciphertext
is associated data of the AES-256-GCM encryption, so nothing in it can be changed unnoticed.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from certbot_enclave import errors

if TYPE_CHECKING:
    from certbot_enclave.interfaces import ISealer

MAGIC = b"certbot-enclave-sealed-v1\n"
_ANY_VERSION = MAGIC.removesuffix(b"1\n")
MAX_HEADER = 16 * 1024  # bytes
MAX_ENVELOPE = 32 * 1024 * 1024  # bytes
_MEMBERS = {"kind", "sealer", "key", "wrapped", "nonce", "fields"}


@dataclass(frozen=True)
class Envelope:
    """A parsed envelope; nothing in it is trusted yet.

    Attributes:
        kind: What the content is for, e.g. ``bundle``.
        sealer: Scheme of the sealer.
        key: Public name of the wrapping key.
        fields: Public facts about the content.
        wrapped: The wrapped data key.
        nonce: 12 bytes.
        associated: Everything before the ciphertext.
        ciphertext: Ends in the 16-byte tag.
    """

    kind: str
    sealer: str
    key: str
    fields: Mapping[str, str | int]
    wrapped: bytes
    nonce: bytes
    associated: bytes
    ciphertext: bytes


def _context(kind: str, fields: Mapping[str, str | int]) -> dict[str, str]:
    # What a key service binds the data key to; it sees it in plain, so only names and numbers.
    return {"kind": kind, **{name: str(value) for name, value in sorted(fields.items())}}


def seal(
    plaintext: bytes,
    *,
    kind: str,
    fields: Mapping[str, str | int],
    sealer: ISealer,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Seal bytes.

    Args:
        plaintext: What to protect.
        kind: What it is for; `unseal` must name the same.
        fields: Public facts, authenticated but readable by the host.
        sealer: Wraps the data key.
        random: Source of secret bytes.

    Raises:
        SealError: The sealer refused, or the result could not be opened (``envelope-too-large``).
        TransportError: The sealer cannot be reached.
    """
    data_key = random(32)
    nonce = random(12)
    header = {
        "kind": kind,
        "sealer": sealer.scheme,
        "key": sealer.key,
        "fields": dict(fields),
        "wrapped": base64.b64encode(sealer.wrap(data_key, _context(kind, fields))).decode(),
        "nonce": base64.b64encode(nonce).decode(),
    }
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).encode()
    associated = MAGIC + len(text).to_bytes(4, "big") + text
    # `parse` will refuse more: what could never be opened again must not replace what can.
    if len(text) > MAX_HEADER or len(associated) + len(plaintext) + 16 > MAX_ENVELOPE:
        raise errors.SealError(
            f"a sealed {kind} of {len(plaintext)} bytes and a header of {len(text)} is too large",
            code="envelope-too-large",
        )
    return associated + AESGCM(data_key).encrypt(nonce, plaintext, associated)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("duplicate member")
    return table


def parse(data: bytes) -> Envelope:
    """Read an envelope without opening it.

    Raises:
        FormatError: It is none, it is damaged, or it is larger than `MAX_ENVELOPE`.
    """
    start = len(MAGIC) + 4
    if data.startswith(_ANY_VERSION) and not data.startswith(MAGIC):
        raise errors.FormatError(
            "sealed envelope has another version than 1",
            code="envelope-version",
            hint="it was sealed by a newer certbot-enclave: run that one",
        )
    if not data.startswith(MAGIC) or not start < len(data) <= MAX_ENVELOPE:
        raise errors.FormatError(
            f"expected a sealed envelope, got {len(data)} other bytes", code="envelope-format"
        )
    end = start + int.from_bytes(data[len(MAGIC) : start], "big")
    if end - start > MAX_HEADER or len(data) < end + 16:
        raise errors.FormatError("sealed envelope is cut short", code="envelope-truncated")
    try:
        header = json.loads(data[start:end].decode("utf-8"), object_pairs_hook=_no_duplicates)
        if not isinstance(header, dict) or header.keys() != _MEMBERS:
            raise ValueError("members are not the expected ones")
        fields = header["fields"]
        if not isinstance(fields, dict) or any(
            type(value) not in (str, int) for value in fields.values()
        ):
            raise ValueError("fields are not texts and numbers")
        names = (header["kind"], header["sealer"], header["key"])
        if any(not isinstance(name, str) for name in names):
            raise ValueError("a name is no text")
        wrapped = base64.b64decode(header["wrapped"], validate=True)
        nonce = base64.b64decode(header["nonce"], validate=True)
        if len(nonce) != 12:
            raise ValueError("nonce is not 12 bytes")
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise errors.FormatError(
            f"header of the sealed envelope is malformed: {error}", code="envelope-header"
        ) from error
    return Envelope(*names, fields, wrapped, nonce, data[:end], data[end:])


def unseal(envelope: Envelope, *, kind: str, sealer: ISealer) -> bytes:
    """Open an envelope.

    Args:
        envelope: From `parse`.
        kind: What the caller expects it to be.
        sealer: Unwraps the data key; the envelope must name the same scheme and key.

    Returns:
        The plaintext.

    Raises:
        SealError: Another kind (``envelope-kind``), another sealer (``sealer-mismatch``), a sealer
            that refuses, or content that was changed (``envelope-forged``).
        TransportError: The sealer cannot be reached.
    """
    if envelope.kind != kind:
        raise errors.SealError(
            f"expected a sealed {kind}, got a sealed {envelope.kind}", code="envelope-kind"
        )
    if (envelope.sealer, envelope.key) != (sealer.scheme, sealer.key):
        raise errors.SealError(
            f"sealed by {envelope.sealer} {envelope.key}, "
            f"but this enclave's sealer is {sealer.scheme} {sealer.key}",
            code="sealer-mismatch",
        )
    data_key = sealer.unwrap(envelope.wrapped, _context(kind, envelope.fields))
    if len(data_key) != 32:
        raise errors.SealError(
            f"sealer returned a key of {len(data_key)} bytes, expected 32", code="sealer-broken"
        )
    try:
        return AESGCM(data_key).decrypt(envelope.nonce, envelope.ciphertext, envelope.associated)
    except InvalidTag as error:
        raise errors.SealError(
            f"sealed {kind} was changed after it was sealed", code="envelope-forged"
        ) from error

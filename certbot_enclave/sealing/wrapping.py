# SPDX-License-Identifier: Apache-2.0
"""Wrapping under a key-encryption key that the enclave itself holds.

KEK = HKDF-SHA-256 of a secret, without salt, 32 bytes; `info` says whose secret it is and what for.
Wrapped key = nonce (12 random bytes) ‖ AES-256-GCM of the data key. The associated data is the
context as JSON with sorted names, as `json.dumps` writes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from certbot_enclave import errors

_NONCE = 12  # bytes


def cipher(secret: bytes, info: bytes) -> AESGCM:
    """Make the cipher under the key-encryption key of a secret."""
    return AESGCM(HKDF(SHA256(), 32, salt=None, info=info).derive(secret))


def _associated(context: Mapping[str, str]) -> bytes:
    return json.dumps(dict(context), sort_keys=True).encode()


def wrap(under: AESGCM, data_key: bytes, context: Mapping[str, str]) -> bytes:
    """Wrap a data key for one context."""
    nonce = os.urandom(_NONCE)
    return nonce + under.encrypt(nonce, data_key, _associated(context))


def unwrap(under: AESGCM, wrapped: bytes, context: Mapping[str, str]) -> bytes:
    """Unwrap what `wrap` returned.

    Raises:
        SealError: Another key, another context, or damaged bytes (``sealed-elsewhere``).
    """
    try:
        return under.decrypt(wrapped[:_NONCE], wrapped[_NONCE:], _associated(context))
    except (InvalidTag, ValueError) as error:
        raise errors.SealError(
            "this enclave cannot unseal: sealed under other measurements, "
            "for another purpose, or damaged",
            code="sealed-elsewhere",
            hint="run the image that sealed it, or start with an empty store and no account",
        ) from error

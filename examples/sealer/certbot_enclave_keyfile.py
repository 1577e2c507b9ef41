# SPDX-License-Identifier: Apache-2.0
"""The sealer ``keyfile:PATH``: AES key wrap (RFC 3394) under a file of 32 random bytes in RAM.

Whoever has the file opens what was sealed. Nothing here sees to it that only measured code has it,
so this sealer says `simulated`, and a real enclave refuses it.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap
from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.interfaces import ISealer


@implementer(ISealer)
class KeyfileSealer:
    """Wraps data keys under one file."""

    simulated = True
    scheme = "keyfile"

    def __init__(self, argument: str) -> None:
        try:
            self._secret = Path(argument).read_bytes()
        except OSError as error:
            raise errors.EnclaveError(f"no key file: {error}", code="keyfile-missing") from error
        if len(self._secret) != 32:
            raise errors.EnclaveError(f"{argument} is not of 32 bytes", code="keyfile-size")
        self.key = self._derive({"use": "name"}).hex()[:16]

    def _derive(self, context: Mapping[str, str]) -> bytes:
        info = b"certbot-enclave-keyfile-v1:" + json.dumps(dict(context), sort_keys=True).encode()
        return HKDF(SHA256(), 32, salt=None, info=info).derive(self._secret)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """Wrap under a key for this context alone, since RFC 3394 has no associated data."""
        return aes_key_wrap(self._derive(context), data_key)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """Unwrap, or refuse what was changed, or is for another context or file."""
        try:
            return aes_key_unwrap(self._derive(context), wrapped)
        except InvalidUnwrap as error:
            raise errors.SealError("not sealed by this file", code="sealed-elsewhere") from error

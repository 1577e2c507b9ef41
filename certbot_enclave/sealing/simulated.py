# SPDX-License-Identifier: Apache-2.0
"""The simulated sealer: bound to the simulated measurement, protected by nothing.

Key-encryption key = HKDF-SHA-256 of ``DIR/sealing.key`` with PCR0 ‖ PCR1 ‖ PCR2 in its info, so
that a changed image cannot unseal, as with a real key service. The file lies open beside it: for
demonstrations and tests only.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.attestation.simulated import measure
from certbot_enclave.interfaces import ISealer

_INFO = b"certbot-enclave-simulated-sealer-v1:"


@implementer(ISealer)
class SimulatedSealer:
    """Wraps data keys for one simulated enclave.

    Args:
        argument: The directory that ``certbot-enclave simulate`` made.

    Raises:
        EnclaveError: There is no simulated enclave in that directory.
    """

    simulated = True
    scheme = "simulated"

    def __init__(self, argument: str) -> None:
        directory = Path(argument)
        pcrs = measure(directory)
        try:
            secret = (directory / "sealing.key").read_bytes()
        except OSError as error:
            raise errors.EnclaveError(
                f"no sealing key of a simulated enclave in {argument!r}: {error.strerror}",
                code="simulated-missing",
                hint="make one with: certbot-enclave simulate DIR --image FILE",
            ) from error
        info = _INFO + pcrs[0] + pcrs[1] + pcrs[2]
        self._cipher = AESGCM(HKDF(SHA256(), 32, salt=None, info=info).derive(secret))
        self.key = "simulated"

    @staticmethod
    def _associated(context: Mapping[str, str]) -> bytes:
        return json.dumps(dict(context), sort_keys=True).encode()

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """See `ISealer.wrap`."""
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, data_key, self._associated(context))

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """See `ISealer.unwrap`."""
        try:
            return self._cipher.decrypt(wrapped[:12], wrapped[12:], self._associated(context))
        except (InvalidTag, ValueError) as error:
            raise errors.SealError(
                "this enclave cannot unseal: sealed under other measurements, "
                "for another purpose, or damaged",
                code="sealed-elsewhere",
                hint="run the image that sealed it, or start with an empty store and no account",
            ) from error

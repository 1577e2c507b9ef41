# SPDX-License-Identifier: Apache-2.0
"""The simulated sealer: bound to the simulated measurement, protected by nothing.

Key-encryption key = HKDF-SHA-256 of ``DIR/sealing.key`` with PCR0 ‖ PCR1 ‖ PCR2 in its info, so
that a changed image cannot unseal, as with a real key service. The file lies open beside it: for
demonstrations and tests only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.attestation.simulated import measure
from certbot_enclave.interfaces import ISealer
from certbot_enclave.sealing import wrapping

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
        self._cipher = wrapping.cipher(secret, _INFO + pcrs[0] + pcrs[1] + pcrs[2])
        self.key = "simulated"

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """See `ISealer.wrap`."""
        return wrapping.wrap(self._cipher, data_key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """See `ISealer.unwrap`."""
        return wrapping.unwrap(self._cipher, wrapped, context)

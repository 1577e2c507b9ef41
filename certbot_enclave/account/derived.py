# SPDX-License-Identifier: Apache-2.0
"""The account key that needs no store: made from the sealer's secret, the same at every boot.

To the byte, with vectors, in docs/oyster-account.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from cryptography.hazmat.primitives.asymmetric import ec

from certbot_enclave import errors
from certbot_enclave.interfaces import IDerivingSealer

if TYPE_CHECKING:
    from certbot_enclave.interfaces import ISealer

PATH = "certbot-enclave/account/v1/"
SIZE = 64  # bytes of a secret
_TAKEN = 48  # bytes of it: 128 bits more than the order has, so that the bias is below 2^-128
# Order of the group of P-256 (NIST SP 800-186 §3.2.1.3).
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def private_key(directory: str, sealer: ISealer) -> ec.EllipticCurvePrivateKey:
    """Derive the account key for one ACME directory.

    Args:
        directory: URL of the ACME directory, exactly as in the settings.
        sealer: Has the secret.

    Raises:
        PolicyError: It has none to derive from (``account-key-underivable``).
        SealError: It refused, or gave something else than `SIZE` bytes (``sealer-broken``).
        TransportError: It cannot be reached.
    """
    if not IDerivingSealer.providedBy(sealer):
        raise errors.PolicyError(
            f"the sealer {sealer.scheme} cannot derive an account key",
            code="account-key-underivable",
            hint="use the sealer oysterkms, or leave account_key at random",
        )
    secret = cast(IDerivingSealer, sealer).derive(PATH + directory)
    if len(secret) != SIZE:
        raise errors.SealError(
            f"sealer returned a secret of {len(secret)} bytes, expected {SIZE}",
            code="sealer-broken",
        )
    number = int.from_bytes(secret[:_TAKEN], "big") % (ORDER - 1) + 1
    return ec.derive_private_key(number, ec.SECP256R1())

# SPDX-License-Identifier: Apache-2.0
"""What an attester returns, in one of two formats: how it is taken apart, and what it binds.

=================  ==================================  ==========================================
format             bytes                               binds 64 bytes of user data by
=================  ==================================  ==========================================
``aws-nitro``      the document                        its field ``user_data``, and its ``nonce``
``oyster-signed``  the document ‖ 64-byte signature    that signature (see `oyster_signed`)
=================  ==================================  ==========================================
"""

from __future__ import annotations

from certbot_enclave import errors
from certbot_enclave.attestation import oyster_signed
from certbot_enclave.attestation.document import Document

NITRO, OYSTER = "aws-nitro", "oyster-signed"


def split(data: bytes, format: str) -> tuple[bytes, bytes | None]:
    """Take apart what an attester returned.

    Args:
        data: Of one of the two formats.
        format: Which one.

    Returns:
        The document, and the signature if the format has one.
    """
    if format == OYSTER:
        return data[: -oyster_signed.SIGNATURE_SIZE], data[-oyster_signed.SIGNATURE_SIZE :]
    return data, None


def check_bound(
    found: Document, signature: bytes | None, *, user_data: bytes, nonce: bytes | None
) -> None:
    """Check that a document binds these 64 bytes; of ``aws-nitro``, the nonce is not looked at.

    Args:
        found: The document, authenticated.
        signature: That of ``oyster-signed``; None for ``aws-nitro``.
        user_data: 64 bytes.
        nonce: What was asked for, or None.

    Raises:
        BindingError: The document carries other user data (``statement-unbound``).
        SignatureError, FormatError: As `oyster_signed.verify`.
    """
    if signature is not None:
        oyster_signed.verify(found.public_key, signature, user_data=user_data, nonce=nonce)
    elif found.user_data != user_data:
        raise errors.BindingError("the document binds another statement", code="statement-unbound")

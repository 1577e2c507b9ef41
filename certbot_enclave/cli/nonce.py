# SPDX-License-Identifier: Apache-2.0
"""``--nonce HEX``: what a verifier chooses so that an answer cannot be a replay."""

from __future__ import annotations

from certbot_enclave import errors

SIZES = range(16, 65)  # bytes


def parse(text: str | None) -> bytes | None:
    """Read the option.

    Raises:
        PolicyError: It is no hex, or not of 16 to 64 bytes (``nonce-invalid``).
    """
    if text is None:
        return None
    try:
        nonce = bytes.fromhex(text)
    except ValueError as error:
        raise errors.PolicyError("--nonce is no hex", code="nonce-invalid") from error
    if len(nonce) not in SIZES:
        raise errors.PolicyError(
            f"--nonce has {len(nonce)} bytes, expected 16 to 64", code="nonce-invalid"
        )
    return nonce

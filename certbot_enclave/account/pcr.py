# SPDX-License-Identifier: Apache-2.0
"""A PCR that is bound to the account: then every later document of this enclave carries it.

The setting ``bind_pcr`` names it (docs/evidence.md has the formula). Locked, it stays until the
enclave ends, and whoever inside asks for a document, for whatever purpose, gets it with the
account's PCR in it.
"""

from __future__ import annotations

from typing import cast

from certbot_enclave import errors, statement
from certbot_enclave.interfaces import IAttester, ISecurityModule


def _module(attester: IAttester) -> ISecurityModule:
    if not ISecurityModule.providedBy(attester):
        raise errors.EnclaveError(
            "this attester has no PCR that could be bound",
            code="pcr-unsupported",
            hint="leave bind_pcr empty here",
        )
    return cast(ISecurityModule, attester)


def require_free(attester: IAttester, index: int) -> None:
    """Refuse before there is an account what would make `bind` fail once there is one.

    Args:
        attester: Provides `ISecurityModule` too.
        index: 16 to 31.

    Raises:
        EnclaveError: There are no PCRs to extend (``pcr-unsupported``), this one was extended or
            locked before (``pcr-taken``), or the device failed.
    """
    locked, value = _module(attester).pcr(index)
    if locked or value != bytes(len(value)):
        raise errors.EnclaveError(
            f"PCR{index} was extended or locked before there is an account to bind it to",
            code="pcr-taken",
            hint="something else in the image uses it: name another one",
        )


def bind(attester: IAttester, index: int, *, uri: str, public_key: bytes) -> None:
    """Extend and lock a PCR, or find that it was done before in this boot.

    Args:
        attester: Provides `ISecurityModule` too.
        index: 16 to 31.
        uri: The account URI, as the CA said in this boot.
        public_key: The account key, DER SubjectPublicKeyInfo.

    Raises:
        EnclaveError: The attester has no PCRs to extend (``pcr-unsupported``), this one holds
            something else (``pcr-taken``), the device did not extend it by the formula
            (``pcr-broken``), or the device failed.
    """
    module = _module(attester)
    expected = statement.account_pcr(uri, public_key)
    locked, value = module.pcr(index)
    # Whoever was killed between the two steps finds it extended and not locked.
    if value == bytes(len(value)) and not locked:
        value = module.extend(index, statement.account_binding(uri, public_key))
        if value != expected:
            raise errors.EnclaveError(
                f"the device made PCR{index} {value.hex()}, expected {expected.hex()}",
                code="pcr-broken",
            )
    if value != expected:
        raise errors.EnclaveError(
            f"PCR{index} holds {value.hex()}, bound to account {uri} it would hold "
            f"{expected.hex()}",
            code="pcr-taken",
            hint="something else in the image extends it: name another one; or another account was "
            "bound in this boot: start the enclave anew",
        )
    if not locked:
        module.lock(index)

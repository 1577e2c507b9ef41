# SPDX-License-Identifier: Apache-2.0
"""Every error the package raises, in one tree.

::

    Error
    ├── FormatError (ValueError)     bytes or text are not what they claim to be
    ├── VerificationError            well-formed, but it does not hold
    │   ├── ChainError               certificates do not lead to the trusted root
    │   ├── SignatureError           a signature does not match
    │   ├── MeasurementError         measurements are not the expected ones
    │   ├── FreshnessError           too old, from the future, or another nonce
    │   ├── BindingError             statement, account key and document do not belong together
    │   └── StatementError           what is said is not what the policy or the caller accepts
    ├── PolicyError                  a policy, option or settings file is wrong or not allowed
    ├── TransportError               could not ask (network, resolver, file); may work later
    ├── EnclaveError                 the attester is missing or broken
    ├── SealError                    sealed state cannot be sealed, unsealed or trusted
    ├── GuardError                   the guarded account key refuses to sign
    ├── GateError                    the CAA gate is closed
    ├── UpdateError                  a DNS server does not make the change that was asked for
    ├── AccountError                 the ACME account is missing, foreign or refused by the CA
    ├── ThriftError                  the CA is not asked now: it would be too much, or in the way
    ├── CertbotError                 certbot, started by us, did not do what it should
    ├── DeployError                  key and chain could not be handed to the TLS server
    └── ExtensionError               a third-party component does not fit its interface

Messages start lower case, carry no full stop, and say what was expected and what came. Advice
is in ``hint``.
"""

from __future__ import annotations

from datetime import datetime


class Error(Exception):
    """Base of all errors of this package.

    Attributes:
        code: Stable, kebab-case name of the reason; JSON output and documentation key on it.
        hint: What the reader can do next: what was given, or the class's `advice`.
    """

    advice = ""

    def __init__(self, message: str, *, code: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint or self.advice


class FormatError(Error, ValueError):
    """Bytes or text are not what they claim to be."""

    advice = "fetch it again; if it stays so, whoever sent it sent something else"


class VerificationError(Error):
    """Well-formed, but it does not hold.

    Attributes:
        expected: What would have been accepted, as text, or None.
        actual: What came, as text, or None.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str | None = None,
        expected: str | None = None,
        actual: str | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.expected = expected
        self.actual = actual


class ChainError(VerificationError):
    """Certificates do not lead to the trusted root."""

    advice = "do not trust the evidence; a simulated enclave needs --trust-root"


class SignatureError(VerificationError):
    """A signature does not match."""

    advice = "do not trust the evidence: it was changed, or never was genuine"


class MeasurementError(VerificationError):
    """Measurements are not the expected ones."""

    advice = "other code runs than the policy names; do not publish CAA records for it"


class FreshnessError(VerificationError):
    """Too old, from the future, or made for another nonce."""

    advice = "fetch newer evidence, and look at both clocks"


class BindingError(VerificationError):
    """Statement, account key and attestation document do not belong together."""

    advice = "do not trust the evidence: its parts come from different places"


class StatementError(VerificationError):
    """The statement says what the policy or the caller does not accept."""

    advice = "if you accept it, say so by name in the policy"


class PolicyError(Error):
    """A policy, an option or a settings file is wrong, or not allowed here."""

    advice = "correct the option, the settings or the policy that it names"


class TransportError(Error):
    """Could not ask: network, resolver or file. The same call may work later."""

    advice = "try again; then look at the network, the resolver or the file that it names"


class EnclaveError(Error):
    """The attester is missing, broken, or not the one that was named."""

    advice = "mend the attester or the clock; nothing was ordered"


class SealError(Error):
    """Sealed state cannot be sealed, unsealed or trusted."""

    advice = "find the right bundle or image; no account was made in its place"


class GuardError(Error):
    """The guarded account key refuses to sign (docs/guard.md)."""

    advice = "what asked for the signature is not on the list of docs/guard.md"


class GateError(Error):
    """The CAA gate is closed: somebody else could get this certificate, or nobody could tell.

    Attributes:
        records: CAA records, in zone-file form, that would open the gate; empty if none would.
    """

    advice = "publish the records that are printed with it"

    def __init__(
        self, message: str, *, code: str, hint: str | None = None, records: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.records = records


class UpdateError(Error):
    """A DNS server does not make the change that was asked for, or made another one."""

    advice = "nothing else was changed; mend what it names, then run it again"


class AccountError(Error):
    """The ACME account is missing, foreign, or refused by the CA."""

    advice = "find out where the account went; it is never replaced by another one"


class ThriftError(Error):
    """The CA is not asked now: it would be once too often, or another enclave is ordering.

    Attributes:
        retry_at: When it may be asked; aware. None if no time makes it so.
    """

    advice = "nothing was asked; wait until then, or for one run of certbot: --enclave-budget none"

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str | None = None,
        retry_at: datetime | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.retry_at = retry_at


class CertbotError(Error):
    """certbot, started by us, did not do what it should."""

    advice = "certbot printed above what is wrong; what it got all the same is sealed"


class DeployError(Error):
    """Key and chain could not be handed to the TLS server."""

    advice = "mend what it names, then run certbot again"


class ExtensionError(Error):
    """A third-party component does not fit the interface it claims."""

    advice = "ask whoever made the component"

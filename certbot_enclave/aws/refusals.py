# SPDX-License-Identifier: Apache-2.0
"""What the errors of the key service mean, each with its code and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from certbot_enclave import errors

MAX_TEXT = 300  # characters of the service's own words
Refusal = Callable[[str, str], errors.Error]


def _sealed(says: str, code: str, hint: str) -> Refusal:
    return lambda what, words: errors.SealError(f"{what}: {says}{words}", code=code, hint=hint)


def _later(says: str, code: str, hint: str) -> Refusal:
    return lambda what, words: errors.TransportError(f"{what}: {says}{words}", code=code, hint=hint)


_DENIED = _sealed(
    "the key service denies it",
    "kms-denied",
    "compare PCR0, PCR1 and PCR2 of this image with the key policy, and the role in it with the "
    "instance's; in debug mode all three are zero",
)
_STATE = _sealed(
    "the key is disabled or about to be deleted",
    "kms-key-state",
    "enable it in the account that owns it, or cancel its deletion: what it sealed needs it",
)
_MISSING = _sealed(
    "there is no such key",
    "kms-key-missing",
    "is the ARN in the settings right, region and account included?",
)
_REGION = _sealed(
    "the key service is that of another region",
    "kms-region",
    "leave aws_endpoint empty: the ARN of the key says where the service is",
)
_CIPHERTEXT = _sealed(
    "the key service does not know this wrapped key",
    "kms-ciphertext",
    "it was wrapped by another key, or for another account or directory, or was damaged",
)
_CLOCK = _sealed(
    "the key service finds the request's time or signature wrong",
    "kms-clock",
    "set the clock from the attester; then look at the secret key of the credentials",
)
_ATTESTATION = _sealed(
    "the key service does not accept the attestation document",
    "kms-attestation",
    "it takes documents of real Nitro enclaves, a few minutes old at most: is the clock right?",
)
_OTHER = _sealed(
    "the key service refuses", "kms-refused", "look its error up in the manual of AWS KMS"
)
_CREDENTIALS = _later(
    "the key service does not accept the credentials",
    "kms-credentials",
    "is the role still attached to the instance, and are its credentials fresh?",
)
_BUSY = _later("the key service is busy", "kms-busy", "try again in a minute")

_BY_NAME = {
    "AccessDeniedException": _DENIED,
    "DisabledException": _STATE,
    "KMSInvalidStateException": _STATE,
    "KeyUnavailableException": _STATE,
    "NotFoundException": _MISSING,
    "InvalidArnException": _MISSING,
    "IncorrectKeyException": _CIPHERTEXT,
    "InvalidCiphertextException": _CIPHERTEXT,
    "InvalidSignatureException": _CLOCK,
    "SignatureDoesNotMatch": _CLOCK,
    "RequestExpired": _CLOCK,
    "ExpiredTokenException": _CREDENTIALS,
    "UnrecognizedClientException": _CREDENTIALS,
    "InvalidClientTokenId": _CREDENTIALS,
    "MissingAuthenticationTokenException": _CREDENTIALS,
    "ThrottlingException": _BUSY,
    "LimitExceededException": _BUSY,
    "DependencyTimeoutException": _BUSY,
    "KMSInternalException": _BUSY,
}
# What a region says to a signature for another one, and to the ARN of a key in another one.
_ELSEWHERE = re.compile(
    r"Credential should be scoped to a valid region|Invalid arn(?: [a-z0-9-]+)?$"
)
# Texts about signatures repeat the request, session token included; these do not.
_QUOTED = (_DENIED, _ATTESTATION, _OTHER)


def meaning(what: str, status: int, reply: Mapping[str, Any]) -> errors.Error:
    """Return the error that a reply means.

    Args:
        what: What was asked for.
        status: HTTP status, not 200.
        reply: The reply, {} if it is none of the protocol's. Hostile.
    """
    name = str(reply.get("__type", "")).rpartition("#")[2]
    refusal = _BY_NAME.get(name, _BUSY if status >= 500 else _OTHER)
    text = str(reply.get("message") or reply.get("Message") or "")
    if refusal is _OTHER and "attestation" in text.lower():
        refusal = _ATTESTATION
    if refusal in (_CLOCK, _MISSING) and _ELSEWHERE.match(text):
        refusal = _REGION
    known = name if name.isidentifier() and len(name) < 64 else f"status {status}"
    quoted = text and text.isprintable() and refusal in _QUOTED
    return refusal(what, f" ({known}): {text[:MAX_TEXT]}" if quoted else f" ({known})")

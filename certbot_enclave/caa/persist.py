# SPDX-License-Identifier: Apache-2.0
"""The TXT record of the validation method dns-persist-01, which stands beside the CAA records.

It says for good that an account controls the domain, where other methods ask each time. The drafts
differ: up to draft-ietf-acme-dns-persist-01 the record has the account URL, from -02 on a hash of
it, so that nobody can look up who holds the account. CAA has the URL in either case (-02, §7.7).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from certbot_enclave import errors
from certbot_enclave.caa import grammar
from certbot_enclave.caa.publication import PLAIN, Account

DRAFTS = ("01", "02")
LABEL = "_validation-persist"
METHOD = "dns-persist-01"
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_PREFIX = re.compile(r"https://[^/;]+/[^;]*/")


def account_hash(prefix: str, domain: str, thumbprint: str, uri: str) -> str:
    """Return the ``accounturi`` of draft 02.

    Args:
        prefix: ``accountHashPrefix`` of the CA's directory, an https URL that ends in ``/``.
        domain: Name that is validated.
        thumbprint: RFC 7638 thumbprint of the account key: base64url of SHA-256, 43 characters.
        uri: Account URL.

    Raises:
        PolicyError: Prefix or thumbprint is none (``persist-prefix``, ``persist-thumbprint``).
    """
    import base64
    import hashlib

    if not PLAIN.fullmatch(prefix) or not _PREFIX.fullmatch(prefix):
        raise errors.PolicyError(
            f"account hash prefix {prefix!r} is no https URL that ends in /",
            code="persist-prefix",
            hint="take accountHashPrefix from meta of the CA's directory",
        )
    if not _THUMBPRINT.fullmatch(thumbprint):
        raise errors.PolicyError(
            f"thumbprint {thumbprint!r} has no 43 signs of base64url", code="persist-thumbprint"
        )
    text = domain.encode("ascii")
    said = bytes([len(text)]) + text + thumbprint.encode("ascii") + uri.encode("ascii")
    digest = base64.urlsafe_b64encode(hashlib.sha256(said).digest()).rstrip(b"=").decode("ascii")
    return f"{prefix}sha-256/{digest}"


def texts_of(
    name: str, accounts: Sequence[Account], *, draft: str, prefix: str | None, wildcard: bool
) -> tuple[str, ...]:
    """Return the texts of the TXT records at ``_validation-persist.NAME``.

    Args:
        name: Name that is validated, lower-case A-labels.
        accounts: Each gets a record of its own.
        draft: One of `DRAFTS`; the newest one that the CA implements.
        prefix: As in `account_hash`; for draft 02 only.
        wildcard: Whether they may get names below it too, and the wildcard.

    Raises:
        PolicyError: As `grammar.build` and `account_hash`; CAA would forbid the method
            (``persist-method``).
    """
    policy = ";policy=wildcard" if wildcard else ""
    texts = []
    for account in accounts:
        grammar.build(account.issuer, methods=account.methods, account_uri=account.uri)
        if METHOD not in account.methods:
            raise errors.PolicyError(
                f"the CAA records allow {','.join(account.methods)}, and not {METHOD}",
                code="persist-method",
                hint=f"allow it: --method {METHOD}",
            )
        uri = account.uri
        if draft == "02":
            uri = account_hash(prefix or "", name, account.thumbprint or "", uri)
        texts.append(f"{account.issuer};accounturi={uri}{policy}")
    return tuple(texts)


def strings(text: str) -> list[str]:
    """Split a text into what a TXT record can hold: strings of at most 255 octets."""
    return [text[start : start + 255] for start in range(0, len(text), 255)]

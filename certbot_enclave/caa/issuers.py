# SPDX-License-Identifier: Apache-2.0
"""What is known about CAs: who enforces RFC 8657 already, and which accounts are for staging.

Records that bind an account bind only CAs that read ``accounturi``. Every public CA has to from
2027-03-15 (CA/Browser Forum ballot SC-098v2, Baseline Requirements 4.2.2.1.2). Until then a CA
that does not would issue to any of its accounts. So enforcement is part of every verdict, and
`verdict.judge_name` asks here: for the gate, for evidence and for ``caa check``.

Whether an account is for staging is a matter of ``caa check`` alone, where somebody names it. In
the gate the account is that of the directory, and `verification` refuses a staging directory that
the policy does not accept.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from certbot_enclave.caa.evaluate import Finding
    from certbot_enclave.caa.verdict import Subject

MANDATORY = date(2027, 3, 15)
NOT_ENFORCING = "issuer-not-enforcing"


class Enforcing(NamedTuple):
    """A CA that says that it enforces RFC 8657.

    Attributes:
        issuer: Issuer domain name.
        since: From when on.
        source: Where it says so.
    """

    issuer: str
    since: date
    source: str


ENFORCING = (
    Enforcing(
        "letsencrypt.org",
        date(2022, 12, 31),  # "since the turn of the year": the last day that it can mean
        "https://letsencrypt.org/docs/caa/, as of 2026-08-21",
    ),
)
# Source: meta of the directory https://acme-staging-v02.api.letsencrypt.org/directory, 2026-11-23.
STAGING = ("https://acme-staging-v02.api.letsencrypt.org/",)


def condition(issuer: str) -> str:
    """Return the condition that stands for an issuer which is accepted though not known."""
    return f"{NOT_ENFORCING}:{issuer}"


def unenforced(issuer: str, today: date) -> str | None:
    """Tell why records that bind an account may not bind this CA; None if they do.

    Args:
        issuer: Issuer domain name.
        today: The date to judge by, UTC.
    """
    known = any(item.issuer == issuer and item.since <= today for item in ENFORCING)
    if known or today >= MANDATORY:
        return None
    return (
        f"{issuer} is not known to read accounturi, and need not before {MANDATORY}: "
        "any account there may do"
    )


def all_staging(uris: Iterable[str]) -> bool:
    """Return whether none of these accounts gets a certificate that browsers trust."""
    return all(uri.startswith(STAGING) for uri in uris)


def judge_enforcement(issuer: str, today: date) -> tuple[Finding, ...]:
    """Find out whether the issuer's word is needed for what its records say.

    Args:
        issuer: Issuer domain name of the CA.
        today: The date to judge by, UTC.
    """
    from certbot_enclave.caa.evaluate import Finding

    why = unenforced(issuer, today)
    if why is None:
        return ()
    return (
        Finding(
            "issuer-not-enforcing",
            None,
            why,
            "use a CA that does, such as letsencrypt.org; or, if its CPS says that it does, "
            f"accept it with --enclave-allow-issuer {issuer}",
        ),
    )


def judge_staging(subject: Subject) -> tuple[Finding, ...]:
    """Find out whether all our accounts are for staging: then nobody gets a trusted certificate."""
    from certbot_enclave.caa.evaluate import Finding

    if not all_staging((subject.account_uri, *subject.also)):
        return ()
    return (
        Finding(
            "staging-uri-in-production",
            None,
            f"{subject.account_uri} is a staging account: no browser trusts its certificates, "
            "and the CA refuses it for others",
            "bind the account of the production directory, alone or beside it",
        ),
    )

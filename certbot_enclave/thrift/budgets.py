# SPDX-License-Identifier: Apache-2.0
"""What CAs allow, and what is asked here: one less, so that one try is left for a person.

The CA's own counters decide; these stop a crash loop before they do. Let's Encrypt's are token
buckets, which refill evenly; to count what a window holds is stricter than any of them.

Not here: certificates for a registered domain (50 in 7 days). Renewals do not count there, and to
tell which part of a name is the registered domain takes a list of public suffixes.
"""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple

NONE = "none"  # value of the setting `budget`


class Limit(NamedTuple):
    """One limit of a CA.

    Attributes:
        allowed: So many the CA allows in one window.
        window: How long each counts.
    """

    allowed: int
    window: timedelta

    @property
    def asked(self) -> int:
        """So many are asked for at most."""
        return self.allowed - 1


class Budget(NamedTuple):
    """The limits of one directory.

    Attributes:
        duplicates: Certificates for exactly the same names, by whatever account.
        failures: Failed validations of one name by one account.
        orders: Orders of one account.
        accounts: New accounts. The CA counts by IP address, and we do not know ours.
    """

    duplicates: Limit
    failures: Limit
    orders: Limit
    accounts: Limit


_WEEK, _HOUR = timedelta(days=7), timedelta(hours=1)

# https://letsencrypt.org/docs/rate-limits/ (last updated 2025-06-12), read on 2026-11-25.
LETS_ENCRYPT = Budget(
    duplicates=Limit(5, _WEEK),  # "New Certificates per Exact Set of Identifiers"
    failures=Limit(5, _HOUR),  # "Authorization Failures per Identifier per Account"
    orders=Limit(300, 3 * _HOUR),  # "New Orders per Account"
    accounts=Limit(10, 3 * _HOUR),  # "New Registrations per IP Address"
)
# https://letsencrypt.org/docs/staging-environment/ (of 2021-10-31, as stored), read on 2026-11-25.
LETS_ENCRYPT_STAGING = Budget(
    duplicates=Limit(30_000, _WEEK),
    failures=Limit(60, _HOUR),
    orders=Limit(1_500, 3 * _HOUR),
    accounts=Limit(50, 3 * _HOUR),
)
TABLE = {
    "https://acme-v02.api.letsencrypt.org/directory": LETS_ENCRYPT,
    "https://acme-staging-v02.api.letsencrypt.org/directory": LETS_ENCRYPT_STAGING,
}


def of(directory: str) -> Budget:
    """Return the budget for one ACME directory, by its URL.

    One that is in no row is treated as Let's Encrypt: too little can be mended in the settings at
    once, too much costs a week.
    """
    return TABLE.get(directory, LETS_ENCRYPT)

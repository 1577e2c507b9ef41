# SPDX-License-Identifier: Apache-2.0
"""Entries of a ledger, told by what matters in a test."""

from datetime import UTC, datetime, timedelta

from certbot_enclave.thrift import ledger
from certbot_enclave.thrift.ledger import Entry

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = (timedelta(seconds=n) for n in (1, 60, 3600, 86400))
DIRECTORY = "https://ca.test/directory"
ACCOUNT = "https://ca.test/acct/1"
NAME = "example.test"
US, THEM = "aa" * 16, "bb" * 16


def order(ago=timedelta(), outcome=ledger.ISSUED, names=(NAME,), **changes):
    """An order whose time `until` was `ago` before now; an open one began a lease earlier."""
    until = NOW - ago
    values = {
        "kind": ledger.ORDER,
        "directory": DIRECTORY,
        "account": ACCOUNT,
        "names": tuple(sorted(names)),
        "holder": US,
        "at": until - ledger.LEASE,
        "until": until,
        "outcome": outcome,
    }
    return Entry(**{**values, **changes})


def account(ago=timedelta(), **changes):
    return order(ago, names=(), kind=ledger.ACCOUNT, account="", **changes)


def wanted(names=(NAME,), **changes):
    values = {"account": ACCOUNT, "names": names, "holder": US, "now": NOW}
    return ledger.entry(ledger.ORDER, DIRECTORY, **{**values, **changes})

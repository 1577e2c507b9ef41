# SPDX-License-Identifier: Apache-2.0
"""The change in DNS that closes a finding, as data: the whole record set that one name needs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from certbot_enclave.caa import publication
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.publication import Account

_PROPERTIES = (b"issue", b"issuewild")
_KNOWN = (b"iodef", b"issuemail", b"issuevmc")  # to Boulder, so that it heeds their critical flag
_CRITICAL = 128 | 1  # Boulder reads the lowest bit as critical too


class Change(NamedTuple):
    """What one name should have in place of what it has.

    Attributes:
        name: Lower-case A-labels.
        before: CAA records that stand there now, sorted; those inherited, or of a DNS wildcard,
            stand elsewhere.
        after: CAA records that should stand there, and no others.
        found_at: Where the set stands that counts there now: above the name, if it inherits; the
            name itself, if it never would (for an alias leads here, or a DNS wildcard stands
            behind it); None if there is none.
    """

    name: str
    before: tuple[Record, ...]
    after: tuple[Record, ...]
    found_at: str | None = None

    @property
    def removed(self) -> tuple[Record, ...]:
        """The records that go."""
        return tuple(record for record in self.before if record not in self.after)

    @property
    def added(self) -> tuple[Record, ...]:
        """The records that come."""
        return tuple(record for record in self.after if record not in self.before)

    @property
    def empty(self) -> bool:
        """True if nothing has to be done."""
        return not self.removed and not self.added

    def lines(self) -> tuple[str, ...]:
        """Return one line for each record: ``- `` goes, ``+ `` comes, two blanks stay."""
        stays = [record for record in self.after if record in self.before]
        return (
            *(f"- {record.text()}" for record in self.removed),
            *(f"  {record.text()}" for record in stays),
            *(f"+ {record.text()}" for record in self.added),
        )


def kept(records: Iterable[Record]) -> tuple[Record, ...]:
    """Return what may stay beside the records that bind: all that permits and forbids nothing.

    A tag that is not letters and digits makes some software fail to read the set, and a critical
    property that the CA does not know forbids everything.
    """
    return tuple(
        record
        for record in records
        if record.tag.isalnum()
        and record.tag.lower() not in _PROPERTIES
        and (record.tag.lower() in _KNOWN or not record.flags & _CRITICAL)
    )


def binding(
    accounts: Iterable[Account], live: Iterable[Record], *, wildcard: bool
) -> tuple[Record, ...]:
    """Return the record set that allows these accounts and nobody else.

    Args:
        accounts: One at least.
        live: The set that is relevant now; what may stay of it is kept, copied if inherited.
        wildcard: Allow the accounts the wildcard too; otherwise nobody gets it.

    Raises:
        PolicyError: As `publication.records_of`.
    """
    wanted = publication.records_of(accounts, wildcard=wildcard)
    return tuple(dict.fromkeys((*wanted, *kept(live))))

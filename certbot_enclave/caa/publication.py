# SPDX-License-Identifier: Apache-2.0
"""What is to stand in DNS at one name, before it takes any provider's form."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from certbot_enclave import errors
from certbot_enclave.caa import grammar
from certbot_enclave.caa.grammar import Record

TTL = 3600  # seconds
# RFC 3986 §2, and our ``;``: no blank, quote, backslash or brace, which some form would read.
PLAIN = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_IODEF = re.compile(r"mailto:[^@;]+@[^@;]+|https?://[^/;]+(/[^;]*)?")
_TAG = re.compile(r"[a-z0-9]+")


class Account(NamedTuple):
    """Who may issue.

    Attributes:
        issuer: Issuer domain name of the CA.
        uri: ACME account URL.
        methods: Validation method labels.
        thumbprint: RFC 7638 thumbprint of its key, if it is known.
    """

    issuer: str
    uri: str
    methods: tuple[str, ...]
    thumbprint: str | None = None


class Publication(NamedTuple):
    """The whole CAA record set of one name.

    Attributes:
        name: Where the records stand: lower-case A-labels, no star, no final dot.
        records: All of them.
        ttl: In seconds.
        zone: The zone that holds the name, in the same form, if the caller knows it.
        texts: TXT records for ``_validation-persist.NAME``, from `persist.texts_of`.
    """

    name: str
    records: tuple[Record, ...]
    ttl: int = TTL
    zone: str | None = None
    texts: tuple[str, ...] = ()

    @property
    def owner(self) -> str:
        """The name with its final dot."""
        return self.name + "."


def records_of(
    accounts: Iterable[Account], *, wildcard: bool = False, iodef: str | None = None
) -> tuple[Record, ...]:
    """Return the records that allow these accounts and nobody else.

    Args:
        accounts: One at least. Each gets a property of its own: two ``accounturi`` in one property
            allow nobody (RFC 8657 §3).
        wildcard: Allow them the wildcard too; otherwise nobody gets it.
        iodef: Where CAs report what they refused (RFC 8659 §4.4).

    Raises:
        PolicyError: As `grammar.build`; the URL of `iodef` is none (``caa-iodef``).
    """
    values = [
        grammar.build(account.issuer, methods=account.methods, account_uri=account.uri)
        for account in accounts
    ]
    if not values:
        raise ValueError("without an account nobody could issue")
    records = [Record(0, b"issue", value) for value in values]
    records += [Record(0, b"issuewild", value) for value in (values if wildcard else [b";"])]
    if iodef is not None:
        if not PLAIN.fullmatch(iodef) or not _IODEF.fullmatch(iodef):
            raise errors.PolicyError(
                f"iodef {iodef!r} is no mailto, http or https URL", code="caa-iodef"
            )
        records.append(Record(0, b"iodef", iodef.encode("ascii")))
    return tuple(dict.fromkeys(records))


def plain(record: Record) -> tuple[int, str, str]:
    """Return flags, tag and value as text that no form has to escape.

    Raises:
        PolicyError: A form could read other things into it (``caa-unwritable``).
    """
    tag, value = record.tag.decode("latin-1"), record.value.decode("latin-1")
    if record.flags not in (0, 128) or not _TAG.fullmatch(tag) or not PLAIN.fullmatch(value):
        raise errors.PolicyError(
            f"{record.text()} has signs that not every provider takes as they are",
            code="caa-unwritable",
            hint="use --format zone or generic",
        )
    return record.flags, tag, value


def quoted(record: Record) -> str:
    """Return the presentation form of a record that `plain` accepts.

    Raises:
        PolicyError: As `plain`.
    """
    flags, tag, value = plain(record)
    return f'{flags} {tag} "{value}"'


def inside(item: Publication) -> tuple[str, str]:
    """Return the zone, and the name below it, empty for the zone's own.

    Raises:
        PolicyError: The zone is not known (``zone-missing``), or holds other names
            (``zone-outside``).
    """
    if item.zone is None:
        raise errors.PolicyError(
            f"this format needs the zone that holds {item.name}",
            code="zone-missing",
            hint="name it, e.g. --zone example.com",
        )
    if f".{item.name}".endswith(f".{item.zone}"):
        return item.zone, item.name.removesuffix(item.zone).removesuffix(".")
    raise errors.PolicyError(
        f"{item.name} is not in the zone {item.zone}",
        code="zone-outside",
        hint="run it once for each zone",
    )

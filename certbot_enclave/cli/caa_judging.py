# SPDX-License-Identifier: Apache-2.0
"""Verdicts for the verbs that look at live DNS: whom to ask, what to accept, one run over names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from certbot_enclave import errors, settings
from certbot_enclave.cli import caa_accounts, caa_names
from certbot_enclave.cli.caa_names import Asked

if TYPE_CHECKING:
    from certbot_enclave.caa.assessment import Assessment
    from certbot_enclave.caa.evaluate import Finding
    from certbot_enclave.caa.publication import Account
    from certbot_enclave.caa.resolvers import DnsResolver
    from certbot_enclave.caa.verdict import Subject, Tolerance


def add_arguments(
    parser: argparse.ArgumentParser, *, acme_server: Sequence[str] = caa_accounts.ACME_SERVER
) -> None:
    """Add the options: names, accounts, resolvers and what is accepted.

    Args:
        parser: Gets them.
        acme_server: As `caa_accounts.add_arguments` has it.
    """
    caa_names.add_arguments(parser)
    caa_accounts.add_arguments(parser, acme_server=acme_server)
    asked = parser.add_argument_group("whom to ask, and what to accept")
    default = settings.BY_NAME["resolver"].default
    asked.add_argument(
        "--resolver",
        metavar="RESOLVER[,RESOLVER]",
        default=",".join(default) if isinstance(default, tuple) else None,
        help=settings.BY_NAME["resolver"].help + " (default: %(default)s)",
    )
    asked.add_argument(
        "--resolver-roots", metavar="FILE", help=settings.BY_NAME["resolver_roots"].help
    )
    asked.add_argument(
        "--authoritative",
        action="store_true",
        help="ask every server of the names' zones too, at port 53: all must agree",
    )
    for name in ("allow_covering_wildcard", "allow_unsigned_zone"):
        option = "--" + name.replace("_", "-")
        asked.add_argument(option, action="store_true", help=settings.BY_NAME[name].help)
    for name, item in (("allow_alias_zone", "ZONE"), ("allow_issuer", "ISSUER")):
        option = "--" + name.replace("_", "-")
        metavar = f"{item}[,{item}]"
        asked.add_argument(option, metavar=metavar, default="", help=settings.BY_NAME[name].help)


class Run(NamedTuple):
    """What is the same for all names of one run.

    Attributes:
        resolvers: Who is asked; all must agree.
        tolerance: What is accepted.
        accounts: Gives the accounts for a name; it verifies evidence for that name.
        said: What was told on stderr, each line once.
        authoritative: Every server of the names' zones is asked too.
        told: Lines that were told before, in another run.
    """

    resolvers: tuple[DnsResolver, ...]
    tolerance: Tolerance
    accounts: Callable[[str], tuple[Account, ...]]
    said: dict[str, None]
    authoritative: bool = False
    told: Collection[str] = ()

    def tell(self, line: str) -> None:
        """Tell something once in this run, however many names it is true of."""
        _tell(self.said, self.told, line)

    @property
    def simulated(self) -> bool:
        """Evidence of a simulated enclave names the account."""
        return any(line.startswith("SIMULATED") for line in self.said)


def _tell(said: dict[str, None], told: Collection[str], line: str) -> None:
    new = line not in said and line not in told
    said[line] = None
    if new:
        print(f"certbot-enclave: note: {line}", file=sys.stderr)


class Judged(NamedTuple):
    """What is said of one name, and when it was looked at (aware, UTC)."""

    asked: Asked
    found: Assessment
    at: datetime


def start(args: argparse.Namespace, *, told: Collection[str] = ()) -> Run:
    """Read the options of `add_arguments`.

    Args:
        args: With those options.
        told: Lines that need not be told again.

    Raises:
        PolicyError: As `resolvers.parse_resolvers` and `caa_accounts.chosen`; nobody says whose
            account it is about (``account-source``).
        TransportError: A file cannot be read (``file-unreadable``).
    """
    from certbot_enclave.caa import resolvers
    from certbot_enclave.caa.verdict import Tolerance

    asked = resolvers.parse_resolvers(settings.split(args.resolver), roots=args.resolver_roots)
    tolerance = Tolerance(
        covering_wildcard=args.allow_covering_wildcard,
        alias_zones=frozenset(settings.split(args.allow_alias_zone)),
        unsigned_zone=args.allow_unsigned_zone,
        independent_resolvers=resolvers.independent(asked),
        issuers=frozenset(settings.split(args.allow_issuer)),
    )
    said: dict[str, None] = {}
    if args.evidence is None and args.account_uri is None and args.certbot_config is None:
        raise errors.PolicyError(
            "whose account? without one nothing tells us from everybody else",
            code="account-source",
            hint="name it: --account-uri URI --method METHOD, --evidence FILE --policy FILE, "
            "or --certbot-config DIR --method METHOD",
        )
    accounts = caa_accounts.chosen(args, partial(_tell, said, told))
    return Run(asked, tolerance, accounts, said, args.authoritative, told)


def _subject(accounts: tuple[Account, ...]) -> Subject:
    from certbot_enclave.caa import grammar
    from certbot_enclave.caa.verdict import Subject

    first = accounts[0]
    for account in accounts:
        grammar.build(account.issuer, methods=account.methods, account_uri=account.uri)
        if (account.issuer, set(account.methods)) != (first.issuer, set(first.methods)):
            raise errors.PolicyError(
                f"{first.uri} and {account.uri} differ in their CA or methods",
                code="accounts-differ",
                hint="check them one by one: records of one CA's accounts are open to the other's",
            )
    uris = dict.fromkeys(account.uri for account in accounts)
    return Subject(first.issuer, first.uri, first.methods, tuple(uris)[1:])


async def each(
    run: Run,
    names: Iterator[Asked],
    *,
    published: datetime | None = None,
    old_ttl: int | None = None,
) -> AsyncIterator[Judged]:
    """Judge names, many at once; yield what was found in their order.

    Args:
        run: From `start`.
        names: Taken one by one, when there is room.
        published: When the owner published the records, if known; aware.
        old_ttl: TTL of what was there before, in seconds, if known.

    Raises:
        PolicyError: Accounts differ in CA or methods (``accounts-differ``).
        TransportError: As `names`.
    """
    from certbot_enclave.caa import assessment, bulk, issuers

    async def one(asked: Asked) -> Judged:
        now = datetime.now(UTC)
        if asked.error is not None:
            return Judged(asked, assessment.refused(asked.ascii, asked.error), now)
        try:
            subject = _subject(run.accounts(asked.ascii))
        except (errors.VerificationError, errors.FormatError) as error:
            return Judged(asked, assessment.refused(asked.ascii, error), now)
        looked = await asking.judge(asked.ascii, subject, run.tolerance, today=now.date())
        found = assessment.assess(
            looked.verdict,
            looked.own,
            looked.above,
            subject=subject,
            about_accounts=issuers.judge_staging(subject),
            now=now,
            published=published,
            old_ttl=old_ttl,
            compared=looked.compared,
        )
        if any(server.away for server in found.servers or ()):
            run.tell(
                "some servers have addresses to which this host has no way: --json tells which"
            )
        return Judged(asked, found, now)

    async with bulk.Bulk(run.resolvers, authoritative=run.authoritative) as asking:
        async for judged in bulk.in_order(names, one):
            yield judged


def table(judged: Judged, *, simulated: bool) -> dict[str, Any]:
    """Return what is said of a name as JSON has it; `caa_check` describes it."""
    from certbot_enclave.caa import assessment

    def stamp(time: datetime | None) -> str | None:
        return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"

    # One change closes as many findings as a set has records; it is written once.
    written: dict[int, dict[str, Any]] = {}

    def change(item: Finding) -> dict[str, Any] | None:
        if item.change is None:
            return None
        if id(item.change) not in written:
            written[id(item.change)] = {
                "name": item.change.name,
                "before": [record.text() for record in item.change.before],
                "after": [record.text() for record in item.change.after],
            }
        return written[id(item.change)]

    found = judged.found
    verdict, window = found.verdict, found.window
    return {
        "name": verdict.name,
        "unicode": judged.asked.shown,
        "verdict": verdict.word,
        "holds": found.code == 0,
        "findings": [
            {
                "name": item.name,
                "severity": assessment.severity(item),
                "record": item.record,
                "why": item.why,
                "fix": item.fix,
                "change": change(item),
            }
            for item in (*verdict.findings, *found.notes)
        ],
        "conditions": list(verdict.conditions),
        "found_at": verdict.found_at,
        "records": [record.text() for record in found.records],
        "ttl": found.ttl,
        "since": stamp(window.since) if window else None,
        "settled": stamp(window.settled) if window else None,
        "resolvers": list(verdict.resolvers),
        "servers": None
        if found.servers is None
        else [
            {
                "name": server.name,
                "address": server.address,
                "agrees": server.agrees,
                "failure": server.failure,
            }
            for server in found.servers
        ],
        "checked_at": stamp(judged.at),
        "simulated": simulated,
    }

# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave caa check``: could anybody else get a certificate for these names?

Text has one block for each name: the verdict, then findings with their severity, the record that
they are about, why, and the change in DNS that closes them. ``--json`` prints one array, in the
order of the names; each item has

=================  ===============================================================================
``name``           lower-case A-labels; of what is no name, the text that was given, escaped
``unicode``        the same with its letters, or null if IDNA 2008 does not allow it
``verdict``        ``exclusive``; ``pinned, zone unsigned``; ``open``; ``could not tell``, if a
                   lookup failed; ``refused``, if it is no name that CAA can bind, or the evidence
                   does not hold for it
``holds``          true for the first two
``findings``       why it does not hold, or notes: array of objects with ``name`` (stable),
                   ``severity`` (``critical``, ``high``, ``medium``, ``note``), ``record``
                   (presentation form, or null), ``why``, ``fix``
``conditions``     what was accepted by name and weakens the claim
``found_at``       whose record set is relevant, or null
``records``        that set, in presentation form
``ttl``            seconds for which resolvers keep it, or null; of a cached answer what is left
``since``          with ``--published``: from when on the records bind every CA, else null
``settled``        from when on they bind every CA, whenever they were published, if they stay as
                   they are and the TTL before them was no longer; null without records
``resolvers``      who was asked
``checked_at``     RFC 3339, UTC
``simulated``      true if evidence of a simulated enclave names the account
=================  ===============================================================================

Exit code: 0 if every name holds, else 1 if some name does not, else 3 if one could not be told. A
name on the command line that is none is a usage error, 2, before anything is asked; in a file it
is that name's result, ``refused``, and counts as 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from certbot_enclave import errors, settings
from certbot_enclave.cli import caa_accounts, outside

if TYPE_CHECKING:
    from certbot_enclave.caa.assessment import Assessment
    from certbot_enclave.caa.publication import Account
    from certbot_enclave.caa.resolvers import DnsResolver
    from certbot_enclave.caa.verdict import Subject, Tolerance

LINE = 1024  # bytes of a line in a file of names; a name has 253, more if in U-labels
SHOWN = 100  # names between two progress lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument("name", metavar="NAME", nargs="*", help="domain name, in any letters")
    parser.add_argument(
        "--file", metavar="FILE", help="names, one a line, # begins a comment; - for stdin"
    )
    caa_accounts.add_arguments(parser)
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
    for name in ("allow_covering_wildcard", "allow_unsigned_zone"):
        option = "--" + name.replace("_", "-")
        asked.add_argument(option, action="store_true", help=settings.BY_NAME[name].help)
    asked.add_argument(
        "--allow-alias-zone",
        metavar="ZONE[,ZONE]",
        default="",
        help=settings.BY_NAME["allow_alias_zone"].help,
    )
    asked.add_argument(
        "--allow-issuer",
        action="store_true",
        help="accept a CA that is not known here to enforce RFC 8657",
    )
    told = parser.add_argument_group("result")
    told.add_argument(
        "--published", metavar="TIME", help="when you published the records, 2026-11-25T20:00:00Z"
    )
    told.add_argument("--old-ttl", metavar="SECONDS", type=int, help="TTL of what was there before")
    told.add_argument("--json", action="store_true", help="print the results as JSON")


class _Asked(NamedTuple):
    """One name to check, in both forms, or why it is none."""

    ascii: str
    shown: str | None
    error: errors.Error | None = None


def _escaped(text: bytes) -> str:
    from certbot_enclave.caa import grammar

    return grammar.escaped(text[:LINE])


def _file(path: str) -> Iterator[_Asked]:
    with outside.opened(path) as file:
        yield from _lines(file)


def _lines(file: IO[bytes]) -> Iterator[_Asked]:
    """Read a file of names; a line that is none is that line's result."""
    from certbot_enclave.caa import names

    while line := file.readline(LINE + 1):
        if len(line) > LINE and not line.endswith(b"\n"):
            while (rest := file.readline(LINE)) and not rest.endswith(b"\n"):
                pass
            error = errors.PolicyError(
                f"line has more than {LINE} bytes, which no name has", code="name-refused"
            )
            yield _Asked(_escaped(line)[:80], None, error)
            continue
        text = line.partition(b"#")[0].strip()
        if not text:
            continue
        try:
            yield _Asked(*names.parse(text.decode("utf-8")))
        except UnicodeDecodeError:
            error = errors.PolicyError("name is no UTF-8", code="name-refused")
            yield _Asked(_escaped(text), None, error)
        except errors.PolicyError as found:
            yield _Asked(_escaped(text), None, found)


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise errors.PolicyError(
            f"{text!r} is no time such as 2026-11-25T20:00:00Z", code="time-invalid"
        ) from error


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


class _Run(NamedTuple):
    """What is the same for all names."""

    args: argparse.Namespace
    resolvers: tuple[DnsResolver, ...]
    tolerance: Tolerance
    accounts: Any
    published: datetime | None
    told: dict[str, None]


def _table(asked: _Asked, found: Assessment, now: datetime, simulated: bool) -> dict[str, Any]:
    from certbot_enclave.caa import assessment

    def stamp(time: datetime | None) -> str | None:
        return None if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"

    verdict, window = found.verdict, found.window
    return {
        "name": verdict.name,
        "unicode": asked.shown,
        "verdict": verdict.word,
        "holds": found.code == 0,
        "findings": [
            {
                "name": item.name,
                "severity": assessment.severity(item),
                "record": item.record,
                "why": item.why,
                "fix": item.fix,
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
        "checked_at": stamp(now),
        "simulated": simulated,
    }


def _print(table: dict[str, Any]) -> None:
    shown = table["unicode"]
    also = f" ({shown})" if shown not in (None, table["name"]) else ""
    print(f"{table['name']}{also}: {table['verdict']}")
    for item in table["findings"]:
        print(f"  {item['severity']}: {item['name']}: {item['why']}")
        if item["record"] is not None:
            print(f"    record: {item['record']}")
        print(f"    fix:    {item['fix']}")
    for line in table["conditions"]:
        print(f"  condition: {line}")
    if table["found_at"] is not None:
        print(f"  records of {table['found_at']}, TTL {table['ttl']}, by {_list(table)}")
    if table["since"] is not None:
        print(f"  binds every CA from {table['since']}")


def _list(table: dict[str, Any]) -> str:
    return ", ".join(table["resolvers"])


def _start(args: argparse.Namespace) -> _Run:
    from certbot_enclave.caa import resolvers
    from certbot_enclave.caa.verdict import Tolerance

    asked = resolvers.parse_resolvers(settings.split(args.resolver), roots=args.resolver_roots)
    tolerance = Tolerance(
        covering_wildcard=args.allow_covering_wildcard,
        alias_zones=frozenset(settings.split(args.allow_alias_zone)),
        unsigned_zone=args.allow_unsigned_zone,
        independent_resolvers=resolvers.independent(asked),
    )
    published = _time(args.published)
    if args.old_ttl is not None and not 0 <= args.old_ttl < 1 << 31:
        raise errors.PolicyError(
            f"TTL is {args.old_ttl}, expected 0 to 2147483647 seconds (RFC 2181 §8)",
            code="ttl-range",
        )
    said: dict[str, None] = {}

    def tell(line: str) -> None:
        # Evidence is verified for each name, and told once.
        if line not in said:
            said[line] = None
            print(f"certbot-enclave: note: {line}", file=sys.stderr)

    if args.evidence is None and args.account_uri is None and args.certbot_config is None:
        raise errors.PolicyError(
            "whose account? without one nothing tells us from everybody else",
            code="account-source",
            hint="name it: --account-uri URI --method METHOD, --evidence FILE --policy FILE, "
            "or --certbot-config DIR --method METHOD",
        )
    return _Run(args, asked, tolerance, caa_accounts.chosen(args, tell), published, said)


async def _check(run: _Run, names: Iterator[_Asked], show: Any) -> int:
    from certbot_enclave.caa import assessment, bulk, issuers

    args = run.args
    codes: set[int] = set()
    done = 0

    async def one(asked: _Asked) -> tuple[_Asked, Assessment, datetime]:
        now = datetime.now(UTC)
        if asked.error is not None:
            return asked, assessment.refused(asked.ascii, asked.error), now
        try:
            subject = _subject(run.accounts(asked.ascii))
        except (errors.VerificationError, errors.FormatError) as error:
            return asked, assessment.refused(asked.ascii, error), now
        looked = await asking.judge(asked.ascii, subject, run.tolerance)
        enforcing = issuers.judge_enforcement(subject, now.date())
        conditions = [issuers.CONDITION] if enforcing and args.allow_issuer else []
        about = [*issuers.judge_staging(subject), *([] if args.allow_issuer else enforcing)]
        found = assessment.assess(
            looked.verdict,
            looked.own,
            looked.above,
            subject=subject,
            about_issuer=about,
            conditions=conditions,
            now=now,
            published=run.published,
            old_ttl=args.old_ttl,
        )
        return asked, found, now

    progress = sys.stderr is not None and sys.stderr.isatty()
    async with bulk.Bulk(run.resolvers) as asking:
        async for asked, found, now in bulk.in_order(names, one):
            show(_table(asked, found, now, any(line.startswith("SIMULATED") for line in run.told)))
            codes.add(found.code)
            done += 1
            if progress and done % SHOWN == 0:
                print(f"\rchecked {done} names", end="", file=sys.stderr, flush=True)
    if progress and done >= SHOWN:
        print(f"\rchecked {done} names", file=sys.stderr)
    return assessment.worst(codes)


def run(args: argparse.Namespace) -> int:
    """Check the names, and print what was found as it comes, in their order."""
    import asyncio

    from certbot_enclave.caa import names

    given = [_Asked(*names.parse(text)) for text in args.name]
    if bool(given) == (args.file is not None):
        raise errors.PolicyError(
            "expected names, or a file of names, and not both", code="names-missing"
        )
    started = _start(args)
    between = "[\n"

    def show(table: dict[str, Any]) -> None:
        nonlocal between
        if args.json:
            print(between + json.dumps(table, indent=2, sort_keys=True), end="")
            between = ",\n"
        else:
            _print(table)

    wanted = iter(given) if args.file is None else _file(args.file)
    code = asyncio.run(_check(started, wanted, show))
    if args.json:
        print("[]" if between == "[\n" else "\n]")
    return code

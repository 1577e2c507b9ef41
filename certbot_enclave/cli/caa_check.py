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
                   (presentation form, or null), ``why``, ``fix``, and ``change``: null, or what
                   one name needs, with ``name``, and its CAA records ``before`` and ``after``
``conditions``     what was accepted by name and weakens the claim
``found_at``       whose record set is relevant, or null
``records``        that set, in presentation form
``ttl``            seconds for which resolvers keep it, or null; of a cached answer what is left
``since``          with ``--published``: from when on the records bind every CA, else null
``settled``        from when on they bind every CA, whenever they were published, if they stay as
                   they are and the TTL before them was no longer; null without records
``resolvers``      who was asked
``servers``        with ``--authoritative``: the servers of the zones, array of objects with
                   ``name``, ``address`` (or null), ``agrees`` (with the resolvers; null if it did
                   not always answer) and ``failure`` (why not, or null); without it null
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
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from certbot_enclave import errors
from certbot_enclave.cli import caa_judging, caa_names
from certbot_enclave.cli.caa_judging import Judged, Run
from certbot_enclave.cli.caa_names import Asked

if TYPE_CHECKING:
    from certbot_enclave.caa.agreement import State

_Show = Callable[[Judged, dict[str, Any]], None]
SHOWN = 100  # names between two progress lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    caa_judging.add_arguments(parser)
    told = parser.add_argument_group("result")
    told.add_argument(
        "--published", metavar="TIME", help="when you published the records, 2026-11-25T20:00:00Z"
    )
    told.add_argument("--old-ttl", metavar="SECONDS", type=int, help="TTL of what was there before")
    told.add_argument("--json", action="store_true", help="print the results as JSON")


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise errors.PolicyError(
            f"{text!r} is no time such as 2026-11-25T20:00:00Z", code="time-invalid"
        ) from error


def _print(judged: Judged, table: dict[str, Any]) -> None:
    shown = table["unicode"]
    also = f" ({shown})" if shown not in (None, table["name"]) else ""
    print(f"{table['name']}{also}: {table['verdict']}")
    for item in table["findings"]:
        print(f"  {item['severity']}: {item['name']}: {item['why']}")
        if item["record"] is not None:
            print(f"    record: {item['record']}")
        print(f"    fix:    {item['fix']}")
    for change in dict.fromkeys(item.change for item in judged.found.verdict.findings):
        if change is not None:
            print(f"  change at {change.name}:")
            for line in change.lines():
                print(f"    {line}")
    for line in table["conditions"]:
        print(f"  condition: {line}")
    if table["found_at"] is not None:
        print(f"  records of {table['found_at']}, TTL {table['ttl']}, by {_list(table)}")
    if judged.found.servers is not None:
        print(f"  servers: {_agreeing(judged.found.servers)}")
    if table["since"] is not None:
        print(f"  binds every CA from {table['since']}")


def _list(table: dict[str, Any]) -> str:
    return ", ".join(table["resolvers"])


def _agreeing(servers: Sequence[State]) -> str:
    away = sum(server.away and server.agrees is None for server in servers)
    agree = sum(server.agrees is True for server in servers)
    more = f"; this host has no way to {away} more" if away else ""
    return f"{agree} of {len(servers) - away} agree{more}"


async def _check(args: argparse.Namespace, names: Iterator[Asked], run: Run, show: _Show) -> int:
    from certbot_enclave.caa import assessment

    codes: set[int] = set()
    done = 0
    progress = sys.stderr is not None and sys.stderr.isatty()
    published = _time(args.published)
    async for judged in caa_judging.each(run, names, published=published, old_ttl=args.old_ttl):
        show(judged, caa_judging.table(judged, simulated=run.simulated))
        codes.add(judged.found.code)
        done += 1
        if progress and done % SHOWN == 0:
            print(f"\rchecked {done} names", end="", file=sys.stderr, flush=True)
    if progress and done >= SHOWN:
        print(f"\rchecked {done} names", file=sys.stderr)
    return assessment.worst(codes)


def run(args: argparse.Namespace) -> int:
    """Check the names, and print what was found as it comes, in their order."""
    import asyncio

    if args.old_ttl is not None and not 0 <= args.old_ttl < 1 << 31:
        raise errors.PolicyError(
            f"TTL is {args.old_ttl}, expected 0 to 2147483647 seconds (RFC 2181 §8)",
            code="ttl-range",
        )
    names, started = caa_names.chosen(args), caa_judging.start(args)
    if not args.json:
        return asyncio.run(_check(args, names, started, _print))
    between = "[\n"

    def show(_judged: Judged, table: dict[str, Any]) -> None:
        nonlocal between
        print(between + json.dumps(table, indent=2, sort_keys=True), end="")
        between = ",\n"

    try:
        code = asyncio.run(_check(args, names, started, show))
    except errors.Error:
        if between != "[\n":
            args.json = False  # what was found stands as a whole array; the error goes to stderr
            print("\n]")
        raise
    print("[]" if between == "[\n" else "\n]")
    return code

# SPDX-License-Identifier: Apache-2.0
"""Judge every case of a file as its CA would: ``python -m tests.replay_caa FILE``.

The file is in the schema ``caa-vectors/1`` (`tests.support.caa_vectors`). A case expects Boulder's
verdict, ``boulder``, or, where that is missing, ``expected``; and, where the case says at which
name the record set was found, that name too. The climb and the verdict are the product's own.

Exit code 0 if all are judged as expected, 1 if one is not, 2 if there is nothing to judge, or the
file is not in the schema.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from certbot_enclave import errors
from certbot_enclave.caa import evaluate
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Answer, Climb, Climbing
from tests.support import caa_vectors
from tests.support.caa_vectors import BadFile, Case, Entry

_LABEL = "zone"


def _record(rdata: bytes) -> Record:
    """Read RDATA as Boulder's DNS library does: what is missing at its end is empty.

    Raises:
        FormatError: The tag runs past the end, which spoils the whole message.
    """
    if len(rdata) < 2:
        return Record(rdata[0] if rdata else 0, b"", b"")
    end = 2 + rdata[1]
    if end > len(rdata):
        raise errors.FormatError("a tag runs past the end of its record", code="answer-tag")
    return Record(rdata[0], rdata[2:end], rdata[end:])


def answer(name: str, label: str, zone: Mapping[str, Entry]) -> Answer:
    """Answer as a resolver would, and as Boulder reads it.

    Args:
        name: The question.
        label: Of the resolver.
        zone: What it sees.
    """
    said = caa_vectors.resolve(zone, name)
    # That a top-level domain does not exist is an error to Boulder.
    if said.rcode != "NOERROR" and not (said.rcode == "NXDOMAIN" and "." in name):
        return Answer(name, label, aliases=said.aliases, failure=said.rcode)
    try:
        records = tuple(_record(rdata) for rdata in said.rdatas)
    except errors.FormatError as error:
        return Answer(name, label, aliases=said.aliases, failure=str(error))
    return Answer(name, label, records, aliases=said.aliases)


def climb(case: Case) -> Climb:
    """Find the relevant record set.

    Raises:
        TransportError: A lookup on the way failed.
    """
    climbing = Climbing(case.base, [_LABEL])
    while (question := climbing.question) is not None:
        climbing.feed([answer(question, _LABEL, case.zone)])
    return climbing.result


def judge(case: Case) -> tuple[str, str]:
    """Return the verdict and the name at which the record set was found, or an empty text."""
    try:
        found = climb(case)
    except errors.TransportError:
        return "error", ""
    decision = evaluate.strict(
        found.records,
        issuer=case.issuer,
        account_uris=case.account_uris,
        method=case.method,
        wildcard=case.wildcard,
    )
    return "allowed" if decision.allowed else "denied", found.found_at or ""


def _outcome(verdict: str, found_at: str | None) -> str:
    return verdict if found_at is None else f"{verdict} at {found_at or 'no name'}"


def _shown(text: object) -> str:
    """Return text as one printable line: parts of it come out of the file."""
    return str(text).encode("unicode_escape").decode("ascii")


def main(argv: Sequence[str] | None = None) -> int:
    """Judge every case; print those that are not judged as expected.

    Args:
        argv: Arguments without the program's name; None means those of this process.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.replay_caa")
    parser.add_argument("file", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    try:
        cases = caa_vectors.read(args.file)
    except BadFile as error:
        print(f"replay_caa: error: {_shown(error)}", file=sys.stderr)
        return 2
    mismatches = 0
    for case in cases:
        verdict, found_at = judge(case)
        if verdict != case.expected or case.found_at not in (None, found_at):
            mismatches += 1
            wanted = _outcome(case.expected, case.found_at)
            print(_shown(f"{case.name}: expected {wanted}, found {_outcome(verdict, found_at)}"))
    print(f"cases={len(cases)} mismatches={mismatches}")
    return 1 if mismatches else 0


if __name__ == "__main__":
    sys.exit(main())

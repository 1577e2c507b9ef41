# SPDX-License-Identifier: Apache-2.0
"""What ``caa check`` says of one name: the verdict, with what an owner needs beside it.

Findings have one of four severities. Those of the first three keep a name from being exclusive:

========  =========================================================================================
critical  somebody else can get a certificate today
high      somebody else can if a parser, a zone or a CA behaves as some do
medium    the claim is weaker than it looks, our own account is refused, or nothing could be told
note      good to know; changes nothing
========  =========================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from certbot_enclave import errors
from certbot_enclave.caa import evaluate
from certbot_enclave.caa.agreement import Compared, State
from certbot_enclave.caa.changes import Change
from certbot_enclave.caa.evaluate import Finding
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Climb
from certbot_enclave.caa.verdict import Subject, Verdict

COULD_NOT_TELL = "could not tell"
REFUSED = "refused"
WINDOW = timedelta(hours=8)  # Baseline Requirements 4.2.2.1: or the TTL, whichever is greater
SEVERITIES = {
    "no-caa": "critical",
    "no-issue": "critical",
    "unbound-issuer": "critical",
    "foreign-account": "critical",
    "unpinned-account": "critical",
    "unknown-parameter": "critical",
    "case-variant-parameter": "critical",
    "covering-wildcard-open": "critical",
    "duplicate-parameter": "high",
    "malformed-value": "high",
    "malformed-tag": "high",
    "ambiguous-account": "high",
    "issuer-case": "high",
    "alias-target-controls-policy": "high",
    "insecure-zone": "high",
    "issuer-not-enforcing": "high",
    "servers-disagree": "high",
    "unpinned-method": "medium",
    "foreign-method": "medium",
    "not-allowed": "medium",
    "staging-uri-in-production": "medium",
    "lookup-failed": "medium",
    "server-lame": "note",
    "shadowed-by-closer-set": "note",
    "dns-wildcard": "note",
    "ttl-window-open": "note",
}


def severity(finding: Finding) -> str:
    """Return the severity of a finding; of one that is not in the table, ``medium``."""
    return SEVERITIES.get(finding.name, "medium")


class Window(NamedTuple):
    """Until when a CA may still use what it looked up before.

    Attributes:
        since: The records bind from here on; None if nobody said when they were published.
        settled: If they stay as they are, they bind from here on, whenever they were published.
    """

    since: datetime | None
    settled: datetime


class Assessment(NamedTuple):
    """What is said of one name.

    Attributes:
        verdict: Its word may be ``could not tell`` or ``refused`` too.
        notes: Findings that change nothing.
        records: The relevant record set.
        ttl: Seconds for which the resolvers keep it; of a cached answer, what is left.
        window: None if there are no records.
        servers: The servers of its zones; None if they were not asked.
    """

    verdict: Verdict
    notes: tuple[Finding, ...] = ()
    records: tuple[Record, ...] = ()
    ttl: int | None = None
    window: Window | None = None
    servers: tuple[State, ...] | None = None

    @property
    def code(self) -> int:
        """0 if the name is bound, 1 if not, 3 if nobody could tell."""
        if self.verdict.word == COULD_NOT_TELL:
            return 3
        return 0 if self.verdict.opens_gate else 1


def worst(codes: Iterable[int]) -> int:
    """Return the exit code for several names: 1 before 3 before 0."""
    found = set(codes)
    return next((code for code in (1, 3) if code in found), 0)


def refused(name: str, error: errors.Error) -> Assessment:
    """Return what is said of a name that cannot be bound at all, or of evidence that fails."""
    finding = Finding(error.code, None, str(error), error.hint)
    return Assessment(Verdict(name, REFUSED, (finding,), (), (), None, error))


def window(
    ttl: int | None, *, now: datetime, published: datetime | None, old_ttl: int | None
) -> Window:
    """Say when the records bind.

    Args:
        ttl: That of the record set, in seconds.
        now: When it was looked up; aware.
        published: When the owner published it; aware.
        old_ttl: TTL of what was there before, in seconds; if nobody says, that of the set.
    """
    longest = max(WINDOW, timedelta(seconds=max(ttl or 0, old_ttl or 0)))
    if published is None:
        return Window(None, now + longest)
    before = max(WINDOW, timedelta(seconds=(ttl or 0) if old_ttl is None else old_ttl))
    return Window(published + before, now + longest)


def _binds(climb: Climb, subject: Subject, *, wildcard: bool) -> bool:
    """Return True if these records allow all our accounts, by every method, and nobody else."""
    open_to_others = any(
        evaluate.liberal(
            climb.records,
            issuer=subject.issuer,
            account_uri=subject.account_uri,
            methods=subject.methods,
            wildcard=each,
            also=subject.also,
        )
        for each in (False, True)
    )
    return not open_to_others and all(
        evaluate.strict(
            climb.records,
            issuer=subject.issuer,
            account_uris=(account.uri,),
            method=method,
            wildcard=wildcard,
        ).allowed
        for account in subject.accounts
        for method in subject.methods
    )


def _note_shadow(
    own: Climb, above: Climb | None, subject: Subject, *, wildcard: bool
) -> tuple[Finding, ...]:
    if own.found_at is None or above is None or above.found_at is None:
        return ()
    if _binds(own, subject, wildcard=wildcard) or not _binds(above, subject, wildcard=wildcard):
        return ()
    last = own.steps[-1]
    if last.synthesized:
        # What stands at the wildcard is there for other names too.
        fix = f"publish the records of {above.found_at} at {last.owner} too"
        change = Change(last.owner, (), above.records)
    else:
        fix = f"remove every CAA record of {last.owner}, or replace them by those of "
        fix += above.found_at
        change = Change(last.owner, own.records, ())
    return (
        Finding(
            "shadowed-by-closer-set",
            None,
            f"the records of {above.found_at} bind this account, and those of {own.found_at} "
            "hide them: the closest set is the only one that counts",
            fix,
            change,
        ),
    )


def _note_wildcard(own: Climb) -> tuple[Finding, ...]:
    last = own.steps[-1]
    if not (last.synthesized and last.records):
        return ()
    return (
        Finding(
            "dns-wildcard",
            None,
            f"{last.owner} has these records from a DNS wildcard: any record of its own, of "
            "whatever type, takes them away",
            f"publish them at {last.owner} itself",
            Change(last.owner, (), last.records),
        ),
    )


def _note_window(found: Window, now: datetime) -> tuple[Finding, ...]:
    if found.since is None or found.since <= now:
        return ()
    return (
        Finding(
            "ttl-window-open",
            None,
            f"until {found.since:%Y-%m-%dT%H:%M:%SZ} a CA may use what it looked up before",
            "wait until then, and search Certificate Transparency for the name",
        ),
    )


def assess(
    verdict: Verdict,
    own: Climb | None,
    above: Climb | None,
    *,
    subject: Subject,
    about_accounts: Iterable[Finding],
    now: datetime,
    published: datetime | None = None,
    old_ttl: int | None = None,
    compared: Compared | None = None,
) -> Assessment:
    """Put together what is said of one name.

    Args:
        verdict: What `verdict.judge_name` or `verdict.unknown` found.
        own: The climb from the name; None if a lookup failed.
        above: The climb from above the place where `own` ended, or None.
        subject: Who may issue.
        about_accounts: Findings about the accounts, which keep every name open.
        now: When it was looked up; aware.
        published: When the owner published the records, if known; aware.
        old_ttl: TTL of what was there before, in seconds, if known.
        compared: What the servers serve, if they were asked; its findings are in the verdict.
    """
    # Here the options have no prefix.
    plain = (replace(item, fix=item.fix.replace("--enclave-", "--")) for item in verdict.findings)
    findings = (*plain, *about_accounts)
    word = verdict.word
    if isinstance(verdict.failure, errors.TransportError):
        word = COULD_NOT_TELL
        findings = verdict.findings
    elif findings:
        word = "open"
    judged = replace(verdict, word=word, findings=findings)
    said = Assessment(judged)
    if compared is not None:
        said = said._replace(notes=compared.notes, servers=compared.servers)
    if own is None:
        return said
    if not own.records:
        return said._replace(records=own.records)
    ttl = own.steps[-1].ttl
    found = window(ttl, now=now, published=published, old_ttl=old_ttl)
    notes = [
        *_note_shadow(own, above, subject, wildcard=verdict.name.startswith("*.")),
        *_note_wildcard(own),
        *_note_window(found, now),
        *said.notes,
    ]
    return said._replace(notes=tuple(notes), records=own.records, ttl=ttl, window=found)

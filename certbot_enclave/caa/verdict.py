# SPDX-License-Identifier: Apache-2.0
"""The verdict: can nobody else get a certificate for this name (docs/domain-owner.md)?

Exclusive means: Boulder's strict reading allows our account by our method, and the most liberal
reading that any CA's parser could take allows nobody else, for the name, for its own wildcard
``*.NAME`` and for the wildcard that covers it, ``*.PARENT``, in zones whose answers are all
authenticated, at a CA that is known to read what the records say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from functools import lru_cache

from certbot_enclave import errors
from certbot_enclave.caa import changes, evaluate, held, issuers
from certbot_enclave.caa.changes import Change
from certbot_enclave.caa.evaluate import Finding
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Climb
from certbot_enclave.caa.names import PUBLIC_SUFFIXES
from certbot_enclave.caa.publication import Account

_PUBLISH = "publish the records that bind issuance to this account"
_NO_RECORD = "no record can allow it: name a method and an account URI that the CA knows"


@dataclass(frozen=True)
class Subject:
    """Who may issue: our account, at this issuer, by these methods; at least one.

    Attributes:
        issuer: Issuer domain name of the CA.
        account_uri: ACME account URL.
        methods: Validation method labels.
        also: Further accounts of ours at that CA: those of a second enclave, or of its staging.
    """

    issuer: str
    account_uri: str
    methods: tuple[str, ...]
    also: tuple[str, ...] = ()

    @property
    def accounts(self) -> tuple[Account, ...]:
        """All accounts, as `publication` takes them."""
        return tuple(
            Account(self.issuer, uri, self.methods) for uri in (self.account_uri, *self.also)
        )


@dataclass(frozen=True)
class Tolerance:
    """What the owner accepts by name; each acceptance that is used becomes a condition.

    Attributes:
        covering_wildcard: That somebody else could get the wildcard that covers the name.
        alias_zones: Zones that an alias may lead into.
        unsigned_zone: Answers without DNSSEC, when independent resolvers agree.
        independent_resolvers: How many of those asked the host cannot speak for at once:
            `resolvers.independent`. An unsigned zone needs two.
        issuers: Issuer domain names of CAs that need not be known to enforce RFC 8657.
        accounts: URIs of accounts that the subject's own enclave holds at another directory of
            that issuer. Records may allow them, and unlike `Subject.also` need not.
    """

    covering_wildcard: bool = False
    alias_zones: frozenset[str] = field(default_factory=frozenset)
    unsigned_zone: bool = False
    independent_resolvers: int = 0
    issuers: frozenset[str] = field(default_factory=frozenset)
    accounts: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Verdict:
    """What was found about one name.

    Attributes:
        name: Lower-case A-labels.
        word: ``exclusive``, ``pinned, zone unsigned`` or ``open``.
        findings: Why it is open; empty if it is not.
        conditions: What was accepted by name and weakens the claim.
        resolvers: Who was asked.
        found_at: Where the records stand, or None if there are none.
        failure: Why nothing could be told, or None.
        climbs: What it rests on, for those of `looked_at`; empty if nothing could be told.
    """

    name: str
    word: str
    findings: tuple[Finding, ...]
    conditions: tuple[str, ...]
    resolvers: tuple[str, ...]
    found_at: str | None
    failure: errors.Error | None = None
    climbs: tuple[Climb, ...] = field(default=(), compare=False)

    @property
    def opens_gate(self) -> bool:
        """True if nobody else can, as far as the settings demand it."""
        return not self.findings


def _accepted(target: str, zones: frozenset[str]) -> str | None:
    """Return the innermost accepted zone that holds the target of an alias, or None."""
    inside = [
        zone
        for zone in (zone.lower().strip(".") for zone in zones)
        if zone and (target == zone or target.endswith("." + zone))
    ]
    return max(inside, key=len, default=None)


def _judge_aliases(
    climbs: list[Climb], tolerance: Tolerance, conditions: set[str]
) -> list[Finding]:
    findings = []
    # Whoever holds any zone on the way can lead elsewhere tomorrow, so the end alone says nothing.
    for step in (step for climb in climbs for step in climb.steps):
        for target in step.aliases:
            zone = _accepted(target, tolerance.alias_zones)
            if zone is not None:
                conditions.add(f"alias-zone:{zone}")
                continue
            findings.append(
                Finding(
                    "alias-target-controls-policy",
                    None,
                    f"{step.name} is an alias of {target}; whoever holds that zone decides",
                    f"replace the alias, or accept its target with --enclave-allow-alias-zone "
                    f"{target}",
                )
            )
    return findings


def _judge_signing(
    climbs: list[Climb], tolerance: Tolerance, conditions: set[str]
) -> list[Finding]:
    unsigned = [step.name for climb in climbs for step in climb.steps if not step.authenticated]
    if not unsigned:
        return []
    if tolerance.unsigned_zone and tolerance.independent_resolvers >= 2:
        conditions.add("zone-unsigned")
        return []
    why = f"answers about {unsigned[0]} are not authenticated by DNSSEC"
    if tolerance.unsigned_zone:
        why += "; an unsigned zone needs two DNS over TLS resolvers with different names"
    return [
        Finding(
            "insecure-zone",
            None,
            why,
            "sign the zone and have its DS record published by the parent; "
            "if it is signed, name a resolver that validates",
        )
    ]


def _judge_issuer(
    issuer: str, tolerance: Tolerance, conditions: set[str], today: date
) -> list[Finding]:
    found = issuers.judge_enforcement(issuer, today)
    if found and issuer in tolerance.issuers:
        conditions.add(issuers.condition(issuer))
        return []
    return list(found)


def changed(climb: Climb, tolerance: Tolerance, after: tuple[Record, ...]) -> Change:
    """Return the change that gives a name a record set of its own.

    Args:
        climb: From that name.
        tolerance: Says into which zones its aliases may lead: behind those the set stands at their
            target. Any other alias has to go first, since no record stands beside one.
        after: The record set.
    """
    start = climb.steps[0]
    follow = all(_accepted(target, tolerance.alias_zones) for target in start.aliases)
    name = start.aliases[-1] if start.aliases and follow else start.name
    here = climb.found_at == start.name and follow and not start.synthesized
    # Whoever comes by an alias climbs from the alias, and not from its target (RFC 8659 §3).
    found_at = climb.found_at if name == start.name else name
    return Change(name, climb.records if here else (), after, found_at)


def _offer(found: list[Finding], own: Climb, change: Change, left: set[str]) -> list[Finding]:
    """Give each finding the change of the name's records, unless it would stay all the same."""
    start = own.steps[0]
    where = None
    if start.aliases and change.name == start.name:
        where = "in place of the alias"
    elif own.found_at not in (None, start.name):
        # Changing an inherited record would change it for other names too.
        where = f"they go before those of {own.found_at}"
    if where is not None:
        found = [
            finding
            if finding.name in left
            else replace(finding, fix=f"{_PUBLISH} at {change.name}: {where}")
            for finding in found
        ]
    return [
        finding if finding.name in left else replace(finding, change=change) for finding in found
    ]


def _judge_covering(
    parent: str, name: str, covering: Climb, opening: Finding, tolerance: Tolerance
) -> Finding:
    """Find the covering wildcard open; the fix is the whole record set that the parent needs."""
    # A set at the parent ends the climb there, so what it inherited is copied. Any issuewild goes:
    # beside one that permits, one that forbids says nothing. So does a tag that is unreadable.
    copied = [
        record
        for record in covering.records
        if record.tag.isalnum() and record.tag.lower() != b"issuewild"
    ]
    wanted = (*copied, Record(0, b"issuewild", b";"))
    change = changed(covering, tolerance, wanted)
    return Finding(
        "covering-wildcard-open",
        opening.record,
        f"*.{parent} covers {name}: {opening.why}",
        f"have these CAA records and no others at {change.name}: "
        + "; ".join(record.text() for record in wanted),
        change,
    )


# Names below one parent have one record set: it is read once, and these are pure functions.


@lru_cache(maxsize=32)
def _others(
    records: tuple[Record, ...], subject: Subject, wildcard: bool, beside: frozenset[str]
) -> tuple[Finding, ...]:
    return evaluate.liberal(
        records,
        issuer=subject.issuer,
        account_uri=subject.account_uri,
        methods=subject.methods,
        wildcard=wildcard,
        also=(*subject.also, *beside),
    )


@lru_cache(maxsize=32)
def _used(records: tuple[Record, ...], subject: Subject, beside: frozenset[str]) -> tuple[str, ...]:
    """Return those accounts but for which a set would be found to allow somebody else."""
    return tuple(
        uri
        for uri in sorted(beside)
        if any(
            _others(records, subject, wildcard, beside - {uri})
            != _others(records, subject, wildcard, beside)
            for wildcard in (False, True)
        )
    )


@lru_cache(maxsize=32)
def _ours(
    records: tuple[Record, ...], issuer: str, uri: str, method: str, wildcard: bool
) -> evaluate.Decision:
    return evaluate.strict(
        records, issuer=issuer, account_uris=(uri,), method=method, wildcard=wildcard
    )


def _has_wildcard(records: tuple[Record, ...], subject: Subject, beside: frozenset[str]) -> bool:
    """Return True if a set gives the wildcard to an account of ours, by its own property."""
    return (
        any(record.tag.lower() == b"issuewild" for record in records)
        and not _others(records, subject, True, beside)
        and any(
            _ours(records, subject.issuer, account.uri, method, True).allowed
            for account in subject.accounts
            for method in subject.methods
        )
    )


@lru_cache(maxsize=32)
def _wanted(
    records: tuple[Record, ...], subject: Subject, wildcard: bool, beside: frozenset[str]
) -> tuple[Record, ...]:
    # It stays allowed where it is so now: of the name, and of names below that inherit from it.
    wildcard = wildcard or _has_wildcard(records, subject, beside)
    more = [
        Account(subject.issuer, uri, subject.methods) for uri in _used(records, subject, beside)
    ]
    return changes.binding([*subject.accounts, *more], records, wildcard=wildcard)


def looked_at(name: str) -> tuple[str, ...]:
    """Return the names whose record sets decide: its own, then that of the covering wildcard.

    Args:
        name: From `check_name`.
    """
    base = name.removeprefix("*.")
    parent = base.partition(".")[2]
    if base != name or "." not in parent or parent in PUBLIC_SUFFIXES:
        return (base,)
    return (base, parent)


def judge_name(
    name: str,
    subject: Subject,
    tolerance: Tolerance,
    climb: Callable[[str], Climb],
    *,
    today: date,
) -> Verdict:
    """Judge one name.

    Args:
        name: From `names.check_name`.
        subject: Who may issue.
        tolerance: What the owner accepts.
        climb: Looks up the relevant record set of a name (RFC 8659 §3): of those of `looked_at`.
        today: The date to judge the issuer by, UTC.

    Raises:
        GateError: Resolvers disagree.
        PolicyError: No record can bind this subject: as `grammar.build`.
        TransportError: A lookup failed; that is never permission.
    """
    if not subject.methods:
        raise ValueError("at least one validation method is needed")
    wildcard, base = name.startswith("*."), name.removeprefix("*.")
    own = climb(base)
    climbs = [own]
    beside = tolerance.accounts
    wanted = _wanted(own.records, subject, wildcard, beside)
    change = changed(own, tolerance, wanted)

    findings = [
        finding for wild in (False, True) for finding in _others(own.records, subject, wild, beside)
    ]
    left = {
        finding.name for wild in (False, True) for finding in _others(wanted, subject, wild, beside)
    }
    findings = _offer(findings, own, change, left)
    for uri in (subject.account_uri, *subject.also):
        for method in subject.methods:
            decision = _ours(own.records, subject.issuer, uri, method, wildcard)
            if not decision.allowed:
                whose = uri if subject.also else "our own account"
                helps = _ours(wanted, subject.issuer, uri, method, wildcard).allowed
                findings.append(
                    Finding(
                        "not-allowed",
                        None,
                        f"the CA would refuse {whose}: {decision.reason}",
                        f"{_PUBLISH}, and no others" if helps else _NO_RECORD,
                        change if helps else None,
                    )
                )
    conditions = {held.condition(uri) for uri in _used(own.records, subject, beside)}
    for parent in looked_at(name)[1:]:
        covering = climb(parent)
        climbs.append(covering)
        open_above = _others(covering.records, subject, True, beside)
        conditions |= {held.condition(uri) for uri in _used(covering.records, subject, beside)}
        if open_above and tolerance.covering_wildcard:
            conditions.add("covering-wildcard-open")
        elif open_above:
            findings.append(_judge_covering(parent, base, covering, open_above[0], tolerance))
    findings += _judge_aliases(climbs, tolerance, conditions)
    findings += _judge_signing(climbs, tolerance, conditions)
    findings += _judge_issuer(subject.issuer, tolerance, conditions, today)
    if findings:
        word = "open"
    else:
        word = "pinned, zone unsigned" if "zone-unsigned" in conditions else "exclusive"
    return Verdict(
        name,
        word,
        tuple(dict.fromkeys(findings)),
        tuple(sorted(conditions)),
        own.resolvers,
        own.found_at,
        climbs=tuple(climbs),
    )


def unknown(name: str, error: errors.Error, resolvers: tuple[str, ...]) -> Verdict:
    """Return the verdict when a lookup failed: open, since nothing is known."""
    finding = Finding(error.code, None, str(error), error.hint)
    return Verdict(name, "open", (finding,), (), resolvers, None, error)

# SPDX-License-Identifier: Apache-2.0
"""The verdict: can nobody else get a certificate for this name (DESIGN.md §6.3)?

Exclusive means: Boulder's strict reading allows our account by our method, and the most liberal
reading that any CA's parser could take allows nobody else, for the name, for its own wildcard
``*.NAME`` and for the wildcard that covers it, ``*.PARENT``, in zones whose answers are all
authenticated.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from certbot_enclave import errors
from certbot_enclave.caa import evaluate
from certbot_enclave.caa.evaluate import Finding
from certbot_enclave.caa.lookup import Climb

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# Registries that sell names below their own second level (publicsuffix.org, the largest ones). The
# whole list is not worth its size here: a CA refuses the rest, and a wildcard below a suffix that
# is missing here is reported as open, which is the safe side.
PUBLIC_SUFFIXES = frozenset(
    "ac.uk co.uk gov.uk org.uk com.au net.au org.au co.nz co.jp ne.jp or.jp com.br com.cn com.mx "
    "com.tr com.tw co.in co.kr co.za com.sg com.hk github.io".split()
)


@dataclass(frozen=True)
class Subject:
    """Who may issue: our account, at this issuer, by these methods."""

    issuer: str
    account_uri: str
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Tolerance:
    """What the owner accepts by name; each acceptance that is used becomes a condition."""

    covering_wildcard: bool = False
    alias_zones: frozenset[str] = field(default_factory=frozenset)
    unsigned_zone: bool = False


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
    """

    name: str
    word: str
    findings: tuple[Finding, ...]
    conditions: tuple[str, ...]
    resolvers: tuple[str, ...]
    found_at: str | None

    @property
    def opens_gate(self) -> bool:
        """True if nobody else can, as far as the settings demand it."""
        return not self.findings


def check_name(name: str) -> str:
    """Check that a name can be bound by CAA at all.

    Args:
        name: A domain name, maybe with a leading ``*.`` or a trailing dot.

    Returns:
        Lower case, without the dot.

    Raises:
        PolicyError: An IP address, a single label, a public suffix, ``.onion``, or no host name in
            A-labels (``name-refused``).
    """
    found = name.lower().removesuffix(".")
    labels = found.removeprefix("*.").split(".")
    reason = None
    if len(found) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        reason = "is no host name in A-labels"
    elif labels[-1].isdigit():
        reason = "is an IP address, which CAA cannot bind"
    elif len(labels) < 2:
        reason = "has a single label"
    elif labels[-1] == "onion":
        reason = "is an onion name, which DNS does not know"
    elif ".".join(labels) in PUBLIC_SUFFIXES:
        reason = "is a public suffix"
    if reason is not None:
        raise errors.PolicyError(
            f"{name!r} {reason}", code="name-refused", hint="name a domain such as www.example.com"
        )
    return found


def _alias(target: str, zones: frozenset[str]) -> str | None:
    """Return the accepted zone that an alias leads into, or None."""
    return next((zone for zone in zones if target == zone or target.endswith("." + zone)), None)


def _judge_aliases(
    climbs: list[Climb], tolerance: Tolerance, conditions: set[str]
) -> list[Finding]:
    findings = []
    for step in (step for climb in climbs for step in climb.steps):
        if step.alias is None:
            continue
        zone = _alias(step.alias, tolerance.alias_zones)
        if zone is not None:
            conditions.add(f"alias-zone:{zone}")
            continue
        findings.append(
            Finding(
                "alias-target-controls-policy",
                None,
                f"{step.name} is an alias of {step.alias}; whoever holds that zone decides",
                f"replace the alias, or accept its zone with --enclave-allow-alias-zone "
                f"{step.alias.partition('.')[2]}",
            )
        )
    return findings


def _judge_signing(
    climbs: list[Climb], tolerance: Tolerance, conditions: set[str]
) -> list[Finding]:
    unsigned = [step.name for climb in climbs for step in climb.steps if not step.authenticated]
    if not unsigned:
        return []
    several = len(climbs[0].resolvers) >= 2
    if tolerance.unsigned_zone and several:
        conditions.add("zone-unsigned")
        return []
    why = f"answers about {unsigned[0]} are not authenticated by DNSSEC"
    if tolerance.unsigned_zone:
        why += "; an unsigned zone needs two independent resolvers that agree"
    return [
        Finding(
            "insecure-zone",
            None,
            why,
            "sign the zone and have its DS record published by the parent",
        )
    ]


def judge_name(
    name: str, subject: Subject, tolerance: Tolerance, climb: Callable[[str], Climb]
) -> Verdict:
    """Judge one name.

    Args:
        name: From `check_name`.
        subject: Who may issue.
        tolerance: What the owner accepts.
        climb: Looks up the relevant record set of a name (RFC 8659 §3).

    Raises:
        GateError: Resolvers disagree.
        TransportError: A lookup failed; that is never permission.
    """
    wildcard, base = name.startswith("*."), name.removeprefix("*.")
    own = climb(base)
    climbs = [own]

    def others(found: Climb, *, reading: bool) -> tuple[Finding, ...]:
        return evaluate.liberal(
            found.records,
            issuer=subject.issuer,
            account_uri=subject.account_uri,
            methods=subject.methods,
            wildcard=reading,
        )

    findings = list(others(own, reading=False) + others(own, reading=True))
    for method in subject.methods:
        decision = evaluate.strict(
            own.records,
            issuer=subject.issuer,
            account_uris=(subject.account_uri,),
            method=method,
            wildcard=wildcard,
        )
        if not decision.allowed:
            findings.append(
                Finding(
                    "not-allowed",
                    None,
                    f"the CA would refuse our own account: {decision.reason}",
                    "publish the records that bind issuance to this account",
                )
            )
    conditions: set[str] = set()
    parent = base.partition(".")[2]
    if not wildcard and "." in parent and parent not in PUBLIC_SUFFIXES:
        covering = climb(parent)
        climbs.append(covering)
        open_above = others(covering, reading=True)
        if open_above and tolerance.covering_wildcard:
            conditions.add("covering-wildcard-open")
        elif open_above:
            copied = "; ".join(record.text() for record in covering.records)
            findings.append(
                Finding(
                    "covering-wildcard-open",
                    open_above[0].record,
                    f"*.{parent} covers {base}: {open_above[0].why}",
                    f'publish at {parent}: CAA 0 issuewild ";"'
                    + (f", together with what it inherits: {copied}" if copied else ""),
                )
            )
    findings += _judge_aliases(climbs, tolerance, conditions)
    findings += _judge_signing(climbs, tolerance, conditions)
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
    )


def unknown(name: str, error: errors.Error, resolvers: tuple[str, ...]) -> Verdict:
    """Return the verdict when a lookup failed: open, since nothing is known."""
    finding = Finding("lookup-failed", None, str(error), error.hint or "try again")
    return Verdict(name, "open", (finding,), (), resolvers, None)

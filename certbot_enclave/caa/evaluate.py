# SPDX-License-Identifier: Apache-2.0
"""Two readings of one CAA record set.

*Strict* is Boulder's (Let's Encrypt): what our own CA must find to issue to us. *Liberal* is the
union of the most permissive readings of all parsers studied: what any CA could find to issue to
somebody else. Where they differ, the liberal one permits. Each row is a vector of its own
(``tests/unit/caa/test_readings.py``):

===========================================  ==================  ==============================
input                                        strict              liberal
===========================================  ==================  ==============================
no records, or no issue property             anybody             anybody
another issuer                               not us              that issuer
issuer in another case, or with a final dot  another issuer      our issuer, finding
no ``accounturi``                            every account       anybody there
``AccountURI=…``                             unknown, ignored    not a binding: anybody there
``accounturl=…``, ``account-uri=…``          unknown, or void    not a binding: anybody there
``accounturi`` twice                         void                not a binding: anybody there
another account, also by a trailing slash    not us              that account
our account, but told apart after ``?``      us                  anybody there: ``?…`` may be cut
no ``validationmethods``                     every method        finding
``validationmethods`` twice                  void                all that are named
other labels, or none                        refused             those methods
``ca-tbr-N`` labels, other case              unknown             those methods
trailing ``;`` after parameters              void                read as if it were not there
malformed parameters (hyphens, no ``=``, …)  void                read as well as it goes
other blanks or NUL around parts             part of them        stripped, finding
issuer empty                                 nobody              nobody
critical flag on an unknown tag              nobody at all       ignored: a CA may know the tag
reserved flag bits                           bit 1 is critical   ignored
tag in another case                          same tag            same tag
blanks around a tag                          another tag         either, whichever permits more
tag that is not letters and digits           another tag         unreadable answer, finding
===========================================  ==================  ==============================
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from certbot_enclave.caa import grammar
from certbot_enclave.caa.changes import Change
from certbot_enclave.caa.grammar import Parameters, Record

_KNOWN_TAGS = (b"iodef", b"issuemail", b"issuevmc")
_CRITICAL = 128 | 1  # Boulder reads the lowest bit as critical too
_LABEL = re.compile(rb"[0-9A-Za-z-]+")
# Boulder passes over a label that names no method of its own, the requested one too.
_METHODS = (b"http-01", b"dns-01", b"tls-alpn-01", b"dns-account-01", b"dns-persist-01")
_NEAR_ACCOUNT = (b"accounturi", b"accounturl", b"accounturis", b"acounturi", b"account")


@dataclass(frozen=True)
class Decision:
    """The strict reading's answer, and why."""

    allowed: bool
    reason: str


@dataclass(frozen=True)
class Finding:
    """What keeps a name from being exclusively ours.

    Attributes:
        name: Stable, kebab-case.
        record: The record concerned, in presentation form, or None.
        why: One sentence.
        fix: What closes it, in words.
        change: The record set that closes it, if records of one name can.
    """

    name: str
    record: str | None
    why: str
    fix: str
    change: Change | None = None


def _relevant(records: Sequence[Record], *, wildcard: bool, strip: bool) -> list[Record] | None:
    """Return the records that decide (RFC 8659 §4.2, §4.3), or None if nothing restricts."""

    def tag(record: Record) -> bytes:
        return (grammar.stripped(record.tag) if strip else record.tag).lower()

    issue = [record for record in records if tag(record) == b"issue"]
    issuewild = [record for record in records if tag(record) == b"issuewild"]
    return (issuewild if wildcard and issuewild else issue) or None


def _strict_method(value: bytes, method: bytes) -> bool:
    for label in value.split(b","):
        if not _LABEL.fullmatch(label):
            return False
        if label == method and label in _METHODS:
            return True
    return False


def _values(parameters: Parameters, tag: bytes) -> list[bytes]:
    return [value for name, value in parameters if name == tag]


def _strict_record(
    record: Record, issuer: bytes, account_uris: Collection[bytes], method: bytes
) -> bool:
    parsed = grammar.split_strict(record.value)
    if parsed is None or parsed[0] != issuer:
        return False
    accounts = _values(parsed[1], b"accounturi")
    methods = _values(parsed[1], b"validationmethods")
    if len(accounts) > 1 or len(methods) > 1:
        return False
    if accounts and (accounts[0] not in account_uris or not grammar.is_url(accounts[0])):
        return False
    return not methods or _strict_method(methods[0], method)


def strict(
    records: Sequence[Record],
    *,
    issuer: str,
    account_uris: Collection[str],
    method: str,
    wildcard: bool,
) -> Decision:
    """Decide as Boulder does (va/caa.go, 2026-08), given the record set that the climb found.

    Args:
        records: The relevant record set; empty if there is none up to the TLD.
        issuer: Issuer domain name of the CA, compared octet for octet.
        account_uris: Forms of the requesting account's URI that the CA recognises.
        method: Validation method.
        wildcard: Whether the identifier is a wildcard.
    """
    for record in records:
        tag = record.tag.lower()
        known = tag in (b"issue", b"issuewild", *_KNOWN_TAGS)
        if not known and record.flags & _CRITICAL:
            return Decision(False, f"critical property {record.text()} is unknown to the CA")
    relevant = _relevant(records, wildcard=wildcard, strip=False)
    if relevant is None:
        return Decision(True, "no property restricts issuance")
    accounts = frozenset(uri.encode() for uri in account_uris)
    for record in relevant:
        if _strict_record(record, issuer.encode(), accounts, method.encode()):
            return Decision(True, f"{record.text()} allows it")
    return Decision(False, "no record allows this account by this method")


def _foreign_method(named: Sequence[bytes], methods: Collection[str]) -> str | None:
    """Tell in which way these values of validationmethods name other methods than ours."""
    if len(named) > 1:
        return "validationmethods twice is read in several ways"
    labels = [label.strip() for value in named for label in value.split(b",")]
    others = [label for label in labels if label.decode("latin-1") not in methods]
    if not others:
        return None
    shown = ", ".join(grammar.escaped(label) for label in dict.fromkeys(others) if label)
    ours = len(others) < len(labels)
    if shown:
        return f"other methods are allowed{'' if ours else ', and ours are not'}: {shown}"
    if ours:
        return "an empty method beside ours is read in several ways"
    return "validationmethods names no method: a CA that reads it lets nobody issue"


def _liberal_binding(
    record: Record, parameters: Parameters, account_uris: Collection[str], methods: Collection[str]
) -> list[Finding]:
    """Find what a record of our own issuer leaves open."""
    text = record.text()
    exact = _values(parameters, b"accounturi")
    variants = [name for name, _ in parameters if name.lower() == b"accounturi"]
    pin = "write accounturi once, in lower case, with exactly our account's URI"
    found = []
    if len(variants) > 1:
        found.append(
            Finding("duplicate-parameter", text, "accounturi twice is read in several ways", pin)
        )
    elif exact and exact[0] not in [uri.encode() for uri in account_uris]:
        found.append(Finding("foreign-account", text, "another account at our CA is allowed", pin))
    elif exact and set(exact[0]) & set(b"?#"):
        found.append(
            Finding(
                "ambiguous-account",
                text,
                "a CA that compares URIs up to their path takes other accounts for ours",
                "use an account at a CA whose account URIs differ in the path",
            )
        )
    elif variants and not exact:
        found.append(
            Finding(
                "case-variant-parameter",
                text,
                "a CA that reads parameter names strictly sees no accounturi here",
                pin,
            )
        )
    elif not exact:
        near = [
            grammar.escaped(name)
            for name, _ in parameters
            if name.lower().replace(b"-", b"").replace(b"_", b"") in _NEAR_ACCOUNT
        ]
        found.append(
            Finding("unknown-parameter", text, f"{near[0]} is no accounturi, and ignored", pin)
            if near
            else Finding("unpinned-account", text, "every account at our CA is allowed", pin)
        )
    named = [value for name, value in parameters if name.lower() == b"validationmethods"]
    how = f"write validationmethods={','.join(methods)} once, in lower case"
    if not _values(parameters, b"validationmethods"):
        found.append(Finding("unpinned-method", text, "every validation method is allowed", how))
    why = _foreign_method(named, methods)
    if why is not None:
        found.append(Finding("foreign-method", text, why, how))
    strictly = grammar.split_strict(record.value)
    if strictly is None or strictly[0] != grammar.split_liberal(record.value)[0]:
        # The second: a NUL or an odd blank stands beside the issuer. It ends the text for some.
        found.append(
            Finding(
                "malformed-value", text, "parsers disagree about this value", "write it canonically"
            )
        )
    return found


def _liberal_record(
    record: Record, issuer: str, account_uris: Collection[str], methods: Collection[str]
) -> list[Finding]:
    name, parameters = grammar.split_liberal(record.value)
    if not name:
        return []
    if name.lower().rstrip(b".") != issuer.encode():
        return [
            Finding(
                "unbound-issuer",
                record.text(),
                f"another CA, {grammar.escaped(name)}, is allowed",
                "remove this record",
            )
        ]
    found = []
    if name != issuer.encode():
        found.append(
            Finding(
                "issuer-case",
                record.text(),
                "CAs disagree whether this is our issuer's name",
                f"write {issuer}",
            )
        )
    return found + _liberal_binding(record, parameters, account_uris, methods)


def _judge_tags(records: Sequence[Record]) -> list[Finding]:
    return [
        Finding(
            "malformed-tag",
            record.text(),
            "software that cannot read it fails the lookup, which some CAs take for permission",
            "remove this record",
        )
        for record in records
        if not record.tag.isalnum()
    ]


def liberal(
    records: Sequence[Record],
    *,
    issuer: str,
    account_uri: str,
    methods: Collection[str],
    wildcard: bool,
    also: Collection[str] = (),
) -> tuple[Finding, ...]:
    """Find everybody else who could be allowed, in the most permissive reading.

    Args:
        records: The relevant record set; empty if there is none up to the TLD.
        issuer: Our issuer domain name.
        account_uri: Our account.
        methods: Our validation methods.
        wildcard: Whether to read it for a wildcard.
        also: Further accounts of ours.

    Returns:
        The findings; empty means that nobody else could.
    """
    publish = "publish the records that bind issuance to this account"
    if not records:
        return (Finding("no-caa", None, "without CAA records every CA may issue", publish),)
    found: list[Finding] = []
    found += _judge_tags(records)
    # A parser that strips blanks from tags sees a property where another sees an unknown tag; each
    # reading can permit what the other forbids.
    for strip in (False, True):
        relevant = _relevant(records, wildcard=wildcard, strip=strip)
        if relevant is None:
            found.append(Finding("no-issue", None, "these CAA records restrict nobody", publish))
            continue
        for record in relevant:
            found += _liberal_record(record, issuer, (account_uri, *also), methods)
    return tuple(dict.fromkeys(found))

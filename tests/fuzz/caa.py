# SPDX-License-Identifier: Apache-2.0
"""CAA: record sets in two readings, and what a resolver sends.

``caa`` reads a record set strictly, as a second reader of the same rules does (`tests.support.ca`),
and liberally, which must be no stricter. ``answer`` is the whole way of a response: message,
answer, climb, verdict. An input is a message, or records one behind the other, each with two bytes
of length before it.
"""

from __future__ import annotations

from functools import cache
from random import Random

import dns.message
import dns.query
import dns.rdatatype

from certbot_enclave import errors
from certbot_enclave.caa import evaluate, grammar, lookup
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.resolvers import DnsResolver
from tests.fuzz import changes
from tests.support.ca import caa as second

ISSUER = "ca.test"
OURS = "https://ca.test/acct/1"
THEIRS = "https://ca.test/acct/2"
METHOD = "http-01"
NAME = "www.example.com"
_PIN = f"ca.test;validationmethods=http-01;accounturi={OURS}".encode()

_VALUES = (
    *(_PIN, _PIN, _PIN, f"ca.test;accounturi={OURS};validationmethods=http-01".encode()),
    *(b"", b";", b"ca.test", b"other.test", _PIN + b";", _PIN + b"2"),
)
_TAGS = (
    *(b"issue",) * 12,
    *(b"issuewild", b"issuewild", b"issuewild", b"ISSUE", b"IssueWild"),
    *(b"iodef", b"issuemail", b"tbs", b"tbs", b"issue ", b""),
)
_FLAGS = (0, 0, 0, 0, 1, 2, 128, 255)
# What values are made of, and what stands beside it in the parsers' tables.
PIECES = (
    *(b";", b"=", b",", b" ", b"\t", b"\0", b"\n", b"\xa0", b"\xc2\xa0", b"\xe2\x80\x8b", b"."),
    *(b"ca.test", b"CA.test", b"other.test", b"accounturi", b"AccountURI", b"accounturl", b"x=y"),
    *(b"validationmethods", b"ValidationMethods", b"http-01", b"dns-01", b"HTTP-01", b"ca-tbr-19"),
    *(OURS.encode(), THEIRS.encode(), b"/", b"%31", b"-", b'"', b"\\", b"issue", b"issuewild"),
)
# Pieces of messages: compressed names, types and classes, RDATA of CAA, CNAME and DNAME.
WIRE = (
    *(b"\xc0\x0c", b"\xc0\x10", b"\xc0\x00", b"\xff\xff", b"\x00", b"\x03www\xc0\x10", b"\x40"),
    *(b"\x01\x01\x00\x01", b"\x00\x05\x00\x01", b"\x00\x27\x00\x01", b"\x01\x01\x00\x03"),
    *(b"\x00\x05issue", b"\x80\x03tbs", b"\x00\x00", b"\x00\x29\x04\xd0", b"\x00\x0f\x00\x06"),
    *(b"\x03net\x00", b"\x07example\x03com\x00"),
    *PIECES,
)
_RECORD = b"\x00\x00\x00\x01"  # TTL


def _pick(random: Random, choices: tuple[bytes, ...]) -> bytes:
    return choices[changes.below(random, len(choices))]


def _rdata(random: Random) -> bytes:
    value, tag = _pick(random, _VALUES), _pick(random, _TAGS)
    if random.random() < 0.6:
        value = changes.change(random, value, PIECES)
    if random.random() < 0.03:
        tag = changes.change(random, tag, PIECES)[:255]
    return bytes([_FLAGS[changes.below(random, len(_FLAGS))], len(tag)]) + tag + value


def make(random: Random) -> bytes:
    """Make a record set."""
    data = b""
    for _ in range(1 + changes.below(random, 3)):
        rdata = _rdata(random)
        data += len(rdata).to_bytes(2, "big") + rdata
    return changes.change(random, data, PIECES) if random.random() < 0.1 else data


def _records(data: bytes) -> list[Record]:
    """Read records; a length that is too great ends at the end."""
    found = []
    while data:
        size = int.from_bytes(data[:2], "big")
        rdata, data = data[2 : 2 + size], data[2 + size :]
        length = rdata[1] if len(rdata) > 1 else 0
        found.append(Record(rdata[0] if rdata else 0, rdata[2 : 2 + length], rdata[2 + length :]))
    return found


def _strict(records: list[Record], account: str, *, wildcard: bool) -> bool:
    """Read strictly, in both ways.

    Raises:
        AssertionError: They differ.
    """
    found = evaluate.strict(
        records, issuer=ISSUER, account_uris=[account], method=METHOD, wildcard=wildcard
    )
    _check_text(found.reason)
    answer = second.Answer(
        tuple(bytes([item.flags, len(item.tag)]) + item.tag + item.value for item in records)
    )
    other = second.check(
        "com",
        wildcard,
        lambda _name: answer,
        issuer=ISSUER,
        account_uris=[account],
        method=METHOD,
    )
    if found.allowed is not (other.status == "allowed"):
        raise AssertionError(f"strict reading: {found}; a second reader: {other}")
    return found.allowed


def _check_text(text: str) -> None:
    if not text.isascii() or not text.isprintable():
        raise AssertionError(f"not one printable line: {text[:200]!r}")


def judge_records(records: list[Record]) -> None:
    """Read a record set in both ways, for a name and for a wildcard.

    Raises:
        GateError: Somebody else could get a certificate.
        AssertionError: The readings contradict each other, or a second reader of the strict one.
    """
    findings: list[evaluate.Finding] = []
    for wildcard in (False, True):
        found = evaluate.liberal(
            records, issuer=ISSUER, account_uri=OURS, methods=[METHOD], wildcard=wildcard
        )
        for finding in found:
            for text in (finding.record or "", finding.why, finding.fix):
                _check_text(text)
        if _strict(records, THEIRS, wildcard=wildcard) and not found:
            raise AssertionError("another account is allowed, and the liberal reading is silent")
        _strict(records, OURS, wildcard=wildcard)
        findings += found
    for record in records:
        strictly = grammar.split_strict(record.value)
        if strictly is not None and not set(strictly[1]) <= {
            *grammar.split_liberal(record.value)[1],
            (b"", b""),
        }:
            raise AssertionError(f"the liberal reading lacks a parameter of {record.text()}")
    if findings:
        raise errors.GateError("somebody else could", code=f"caa-{findings[0].name}")


def judge(data: bytes) -> None:
    """Judge a record set; as `judge_records`."""
    judge_records(_records(data))


def make_answer(random: Random) -> bytes:
    """Make a response about `NAME`."""
    chain = [b"\xc0\x0c"]
    answers = []
    while random.random() < 0.3 and len(chain) < 4:
        target = b"\x01" + bytes([97 + len(chain)]) + b"\x03net\x00"
        kind = b"\x00\x05"
        if len(chain) == 1 and random.random() < 0.3:
            # example.com is another name of net2.
            answers.append(_rr(b"\xc0\x10", b"\x00\x27", b"\x04net2\x00"))
            target = b"\x03www\x04net2\x00"
        answers.append(_rr(chain[-1], kind, target))
        chain.append(target)
    for _ in range(changes.below(random, 4)):
        owner = chain[-1] if random.random() < 0.9 else _pick(random, tuple(chain))
        answers.append(_rr(owner, b"\x01\x01", _rdata(random)))
    if random.random() < 0.03:
        answers.append(_rr(b"\xc0\x10", b"\x00\x27", b"\x04net2\x00"))
    flags = 0x8180 | (0x20 if random.random() < 0.5 else 0)
    if random.random() < 0.05:
        flags ^= (0x80, 0x200)[changes.below(random, 2)]  # no recursion, or truncated
    code = 0 if random.random() < 0.85 else changes.below(random, 6)
    ede = b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x0a\x00\x0f\x00\x06\x00\x06bogu"
    extra = ede if random.random() < 0.3 else b""
    body = (
        (flags | code).to_bytes(2, "big")
        + b"\x00\x01"
        + len(answers).to_bytes(2, "big")
        + b"\x00\x00"
        + (b"\x00\x01" if extra else b"\x00\x00")
        + b"\x03www\x07example\x03com\x00\x01\x01\x00\x01"
        + b"".join(answers)
        + extra
    )
    if random.random() < 0.4:
        body = changes.change(random, body, WIRE)
    return b"\x00\x00" + body


def _rr(owner: bytes, kind: bytes, rdata: bytes) -> bytes:
    return owner + kind + b"\x00\x01" + _RECORD + len(rdata).to_bytes(2, "big") + rdata


@cache
def _query(name: str) -> dns.message.Message:
    return dns.message.make_query(name + ".", dns.rdatatype.CAA, id=0)


class _Fed(DnsResolver):
    """A resolver whose exchange ends with these bytes, as `dns.query.tls` reads them."""

    data: bytes

    def _exchange(self, name: str) -> dns.message.Message:
        answer = dns.message.from_wire(self.data)
        if not _query(name).is_response(answer):
            raise dns.query.BadResponse
        return answer


def ask(data: bytes) -> lookup.Answer:
    """Read a response about `NAME` as the product does."""
    resolver = _Fed("fed", "127.0.0.1", 53)
    object.__setattr__(resolver, "data", data)  # frozen
    return resolver.ask(NAME)


def judge_answer(data: bytes) -> None:
    """Judge a response about `NAME`; a climb that it does not end finds nothing above.

    Raises:
        TransportError: It is no usable answer.
        GateError: Somebody else could get a certificate.
        AssertionError: As `judge_records`.
    """
    climbing = lookup.Climbing(NAME, ["fed"])
    climbing.feed([ask(data)])
    while climbing.question is not None:
        climbing.feed([lookup.Answer(climbing.question, "fed")])
    judge_records(list(climbing.result.records))

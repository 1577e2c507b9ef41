# SPDX-License-Identifier: Apache-2.0
"""A file of cases is replayed as it says; anything wrong with it ends in 2."""

import json
import os
import subprocess
import sys

import pytest

from tests import replay_caa
from tests.conftest import TOP
from tests.support import caa_vectors
from tests.support.caa_vectors import Entry, Response

ACCOUNT = "https://ca.test/acct/"


def _rdata(value, tag="issue", flags=0):
    return {"rdata": (bytes([flags, len(tag)]) + tag.encode() + value.encode()).hex()}


OURS = {"caa": [_rdata(f"ca.test;accounturi={ACCOUNT}1")]}
THEIRS = {"caa": [_rdata(f"ca.test;accounturi={ACCOUNT}2")]}
BASE = {
    "id": "one",
    "issuer": "ca.test",
    "account_uri_prefixes": [ACCOUNT],
    "account_id": 1,
    "method": "dns-01",
    "identifier": "www.example.com",
    "wildcard": False,
    "zone": {"example.com": OURS},
    "expected": "allowed",
    "expected_found_at": "example.com",
}


def _case(**changes):
    changed = {**BASE, **changes}
    return {field: value for field, value in changed.items() if value is not ...}


def _write(folder, table):
    path = folder / "cases.json"
    path.write_bytes(table if isinstance(table, bytes) else json.dumps(table).encode())
    return str(path)


def _replay(folder, capsys, *cases):
    code = replay_caa.main([_write(folder, {"schema": "caa-vectors/1", "cases": list(cases)})])
    return code, capsys.readouterr().out


# Zone, identifier, and what comes of it.
JUDGED = {
    "at a parent": ({"example.com": OURS}, "www.example.com", "allowed example.com"),
    "closest": ({"example.com": OURS, "www.example.com": THEIRS}, None, "denied www.example.com"),
    "nowhere": ({}, None, "allowed"),
    "of the TLD": ({"com": THEIRS}, None, "denied com"),
    "identifier and zone in capitals, with dots": (
        {"EXAMPLE.Com.": OURS},
        "*.WWW.Example.COM..",
        "allowed example.com",
    ),
    "a name that nobody can ask for": ({"com": OURS}, "a..com", "error"),
    "a leading dot": ({"com": OURS}, ".com", "error"),
    "a label of 63": ({"com": OURS}, "a" * 63 + ".com", "allowed com"),
    "a label of 64": ({"com": OURS}, "a" * 64 + ".com", "error"),
    "a name of 253": ({"com": OURS}, "a." * 125 + "com", "allowed com"),
    "a name of 254": ({"com": OURS}, "a." * 124 + "aaa.com", "error"),
    "the root alone": ({}, ".", "allowed"),
    # Failures.
    **{
        f"failure {code}": (
            {"www.example.com": {"rcode": code}, "example.com": OURS},
            None,
            "error",
        )
        for code in ("SERVFAIL", "REFUSED", "http500", "truncated", "FORMERR", "what")
    },
    "failure above the set": (
        {"www.example.com": OURS, "com": {"rcode": "SERVFAIL"}},
        None,
        "allowed www.example.com",
    ),
    "failure with records": ({"example.com": {"rcode": "SERVFAIL", **OURS}}, None, "error"),
    "no such name": (
        {"www.example.com": {"rcode": "NXDOMAIN"}, "example.com": OURS},
        None,
        "allowed example.com",
    ),
    "no such name, yet records": (
        {"example.com": {"rcode": "NXDOMAIN", **THEIRS}},
        None,
        "denied example.com",
    ),
    "no such TLD": ({"com": {"rcode": "NXDOMAIN"}}, None, "error"),
    "broken signatures": ({"example.com": {"dnssec": "expired"}}, None, "error"),
    "a remark about signatures": (
        {"example.com": {"dnssec": "insecure", **OURS}},
        None,
        "allowed example.com",
    ),
    # RDATA.
    "empty RDATA ends the climb": (
        {"www.example.com": {"caa": [{"rdata": ""}]}, "example.com": THEIRS},
        None,
        "allowed www.example.com",
    ),
    "flags alone": ({"example.com": {"caa": [{"rdata": "00"}]}}, None, "allowed example.com"),
    "flags alone, critical": (
        {"example.com": {"caa": [{"rdata": "80"}]}},
        None,
        "denied example.com",
    ),
    "empty tag": ({"example.com": {"caa": [{"rdata": "0000"}]}}, None, "allowed example.com"),
    "no value": (
        {"example.com": {"caa": [{"rdata": "00056973737565"}]}},
        None,
        "denied example.com",
    ),
    "a tag that overruns": (
        {"example.com": {"caa": [*OURS["caa"], {"rdata": "000669737375650a"[:14]}]}},
        None,
        "error",
    ),
    "not as RDATA": (
        {"example.com": {"caa": [{"flags": 128, "tag": "tbs\xff", "value": "\xff"}]}},
        None,
        "denied example.com",
    ),
    # Aliases.
    "CNAME": (
        {"www.example.com": {"cname": "A.net."}, "a.net": THEIRS, "example.com": OURS},
        None,
        "denied www.example.com",
    ),
    "CNAME to nothing climbs from the name": (
        {"www.example.com": {"cname": "a.b.net"}, "b.net": THEIRS, "example.com": OURS},
        None,
        "allowed example.com",
    ),
    "CNAME to no such name": (
        {
            "www.example.com": {"cname": "net2"},
            "net2": {"rcode": "NXDOMAIN"},
            "example.com": OURS,
        },
        None,
        "allowed example.com",
    ),
    "TLD that is an alias of no such name": (
        {"com": {"cname": "a.net"}, "a.net": {"rcode": "NXDOMAIN"}},
        None,
        "error",
    ),
    "CNAME to a failure": (
        {"www.example.com": {"cname": "a.net"}, "a.net": {"rcode": "REFUSED"}},
        None,
        "error",
    ),
    "CNAME of itself": ({"example.com": {"cname": "example.com"}}, None, "error"),
    "CNAME loop": (
        {"www.example.com": {"cname": "a.net"}, "a.net": {"cname": "www.example.com"}},
        None,
        "error",
    ),
    "CNAME loop beside the name": (
        {
            "www.example.com": {"cname": "a.net"},
            "a.net": {"cname": "b.net"},
            "b.net": {"cname": "a.net"},
        },
        None,
        "error",
    ),
    "CNAME chain of 40": (
        {
            "www.example.com": {"cname": "x0.net"},
            **{f"x{n}.net": {"cname": f"x{n + 1}.net"} for n in range(40)},
            "x40.net": THEIRS,
        },
        None,
        "denied www.example.com",
    ),
    "DNAME above": (
        {"example.com": {"dname": "alt.net"}, "www.alt.net": THEIRS},
        None,
        "denied www.example.com",
    ),
    "DNAME does not redirect its own name": (
        {"example.com": {"dname": "alt.net", **OURS}, "alt.net": THEIRS},
        "example.com",
        "allowed example.com",
    ),
    "DNAME hides what is below it": (
        {"example.com": {"dname": "alt.net"}, "www.example.com": OURS, "www.alt.net": THEIRS},
        None,
        "denied www.example.com",
    ),
    "DNAME, then CNAME": (
        {"example.com": {"dname": "alt.net"}, "www.alt.net": {"cname": "b.net"}, "b.net": THEIRS},
        None,
        "denied www.example.com",
    ),
    "DNAME that grows without end": ({"com": {"dname": "x.com"}}, None, "error"),
    "DNAME loop": ({"com": {"dname": "net"}, "net": {"dname": "com"}}, None, "error"),
    "DNAME to the root": (
        {"example.com": {"dname": "."}, "www": THEIRS},
        None,
        "denied www.example.com",
    ),
}


@pytest.mark.parametrize(("zone", "identifier", "outcome"), JUDGED.values(), ids=JUDGED)
def test_case_is_judged(tmp_path, capsys, zone, identifier, outcome):
    verdict, _, found_at = outcome.partition(" ")
    case = _case(
        zone=zone,
        identifier=identifier or "www.example.com",
        expected=verdict,
        expected_found_at=found_at,
    )
    assert _replay(tmp_path, capsys, case) == (0, "cases=1 mismatches=0\n")


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"expected": "denied"}, "expected denied at example.com, found allowed at example.com"),
        ({"boulder": "denied"}, "expected denied at example.com, found allowed at example.com"),
        (
            {"expected_found_at": "www.example.com"},
            "expected allowed at www.example.com, found allowed at example.com",
        ),
        ({"expected_found_at": None}, "expected allowed at no name, found allowed at example.com"),
        (
            {"expected": "error", "expected_found_at": ...},
            "expected error, found allowed at example.com",
        ),
        ({"account_id": None}, "expected allowed at example.com, found denied at example.com"),
        ({"id": "o\nn\u20ac", "expected": "error", "expected_found_at": ...}, None),
    ],
)
def test_mismatch_is_shown_and_counted(tmp_path, capsys, changes, line):
    code, said = _replay(tmp_path, capsys, _case(**changes), _case())
    lines = said.splitlines()
    assert code == 1
    assert said.isascii()
    assert lines[1:] == ["cases=2 mismatches=1"]
    expected = (
        f"one: {line}" if line else r"o\nn\u20ac: expected error, found allowed at example.com"
    )
    assert lines[0] == expected


@pytest.mark.parametrize(
    "changes",
    [
        {"boulder": "allowed", "expected": "denied"},
        {"boulder": None},
        {"expected_found_at": ...},
        {"wildcard": ..., "id": ..., "note": "more", "account_id": "1"},
        {"account_uri_prefixes": ["https://old.test/", ACCOUNT]},
        {"zone": {"example.com": {**OURS, "ttl": 3600, "rcode": "noerror"}}},
    ],
)
def test_what_a_case_may_have_or_lack(tmp_path, capsys, changes):
    assert _replay(tmp_path, capsys, _case(**changes)) == (0, "cases=1 mismatches=0\n")


def test_wildcard_is_told_by_the_name_or_beside_it(tmp_path, capsys):
    zone = {"example.com": {"caa": [*OURS["caa"], _rdata(";", "issuewild")]}}
    for changes in ({"wildcard": True}, {"identifier": "*.www.example.com"}):
        case = _case(zone=zone, expected="denied", **changes)
        assert _replay(tmp_path, capsys, case) == (0, "cases=1 mismatches=0\n")


def test_a_list_alone_is_a_file_too(tmp_path, capsys):
    assert replay_caa.main([_write(tmp_path, [_case()])]) == 0
    assert replay_caa.main([_write(tmp_path, {"cases": [_case()]})]) == 0


BAD_FILES = {
    "no JSON": (b"{", "is no JSON"),
    "no UTF-8": (b"\xff\xfe\xff", "is no JSON"),
    "nested without end": (b"[" * 100_000, "is no JSON"),
    "a number": (b"1", "not in the schema"),
    "another schema": ({"schema": "caa-lint/1", "cases": [BASE]}, "not in the schema"),
    "nothing": ({}, "no list of cases"),
    "cases no list": ({"cases": {}}, "no list of cases"),
    "empty": ({"schema": "caa-vectors/1", "cases": []}, "has no cases"),
    "empty list": ([], "has no cases"),
    "case no object": ([1], "case 1 is no object"),
}
BAD_CASES = {
    "issuer missing": ({"issuer": ...}, "issuer of one is missing"),
    "issuer half a sign": ({"issuer": "\ud800"}, "issuer of one is no text"),
    "method no text": ({"method": 1}, "method of one is missing"),
    "identifier missing": ({"identifier": None}, "identifier of one is missing"),
    "prefixes missing": ({"account_uri_prefixes": ...}, "account_uri_prefixes of one is missing"),
    "prefix no text": ({"account_uri_prefixes": [1]}, "a prefix of one is missing or no text"),
    "account a list": ({"account_id": [1]}, "account_id of one is neither"),
    "account half a sign": ({"account_id": "\ud800"}, "account_id of one is no text"),
    "zone missing": ({"zone": ...}, "zone of one is missing"),
    "zone no object": ({"zone": []}, "zone of one is missing"),
    "entry no object": ({"zone": {"a": 1}}, "an entry that is no object"),
    "records no list": ({"zone": {"a": {"caa": {}}}}, "caa in the zone of one is no list"),
    "record no object": ({"zone": {"a": {"caa": [1]}}}, "a record of one is malformed"),
    "RDATA no hex": ({"zone": {"a": {"caa": [{"rdata": "0"}]}}}, "a record of one is malformed"),
    "RDATA null": ({"zone": {"a": {"caa": [{"rdata": None}]}}}, "a record of one is malformed"),
    "value missing": (
        {"zone": {"a": {"caa": [{"flags": 0, "tag": "issue"}]}}},
        "a record of one is malformed",
    ),
    "value no text": (
        {"zone": {"a": {"caa": [{"flags": 0, "tag": "issue", "value": 1}]}}},
        "a record of one is malformed",
    ),
    "flags too great": (
        {"zone": {"a": {"caa": [{"flags": 256, "tag": "issue", "value": ""}]}}},
        "a record of one is malformed",
    ),
    "CNAME no text": ({"zone": {"a": {"cname": 1}}}, "cname in the zone of one"),
    "rcode no text": ({"zone": {"a": {"rcode": 2}}}, "rcode in the zone of one"),
    "no expectation": ({"expected": ...}, "one expects None"),
    "another expectation": ({"expected": "valid\x1b[2J"}, "one expects"),
    "Boulder's is another": ({"boulder": ["allowed"]}, "one expects"),
    "place no text": ({"expected_found_at": 1}, "expected_found_at of one"),
}


def _refused(path, capsys, words):
    assert replay_caa.main([path]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("replay_caa: error: ")
    assert words in said.err
    assert said.err.rstrip("\n").isprintable()


@pytest.mark.parametrize(("table", "words"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_file(tmp_path, capsys, table, words):
    _refused(_write(tmp_path, table), capsys, words)


@pytest.mark.parametrize(("changes", "words"), BAD_CASES.values(), ids=BAD_CASES)
def test_bad_case(tmp_path, capsys, changes, words):
    _refused(_write(tmp_path, [_case(), _case(**changes)]), capsys, words)


@pytest.mark.parametrize("name", ["nowhere.json", ".", "a\0b"], ids=["missing", "folder", "null"])
def test_file_that_cannot_be_read(tmp_path, capsys, name):
    _refused(f"{tmp_path}/{name}", capsys, "cannot be read")


def test_file_that_is_too_long(tmp_path, capsys):
    path = tmp_path / "long.json"
    with path.open("wb") as file:
        os.truncate(file.fileno(), (1 << 28) + 1)
    _refused(str(path), capsys, "more than 268435456 bytes")


def test_resolver_tells_every_name_on_the_way():
    zone = {
        "example.com": Entry(dname="alt.net"),
        "www.alt.net": Entry(cname="b.net"),
        "b.net": Entry(rdatas=(b"x",)),
    }
    found = caa_vectors.resolve(zone, "www.example.com")
    assert found == Response("NOERROR", (b"x",), ("www.alt.net", "b.net"))


@pytest.mark.parametrize(("expected", "code"), [("allowed", 0), ("denied", 1), ("x", 2)])
def test_as_a_command(tmp_path, expected, code):
    path = _write(tmp_path, [_case(expected=expected)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.replay_caa", path],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    if code < 2:
        assert done.stdout.splitlines()[-1] == f"cases=1 mismatches={code}"

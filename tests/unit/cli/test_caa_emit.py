# SPDX-License-Identifier: Apache-2.0
"""``caa emit``: the records on stdout and nothing else, remarks on stderr, errors in one line."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from certbot_enclave import cli
from certbot_enclave.caa import formats, issuers
from certbot_enclave.caa.publication import Account
from certbot_enclave.cli import caa_emit
from tests.unit.cli.owner import refused

URI = "https://acme-v02.api.letsencrypt.org/acme/acct/1"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/acme/acct/2"
LE = ("--account-uri", URI, "--method", "dns-01")
PINNED = f"letsencrypt.org;validationmethods=dns-01;accounturi={URI}"
NOTE = "certbot-enclave: note: "
PUT = NOTE + formats.FORMATS["zone"].use


@pytest.fixture
def emit(capsys):
    def run(*arguments):
        code = cli.main(["caa", "emit", *arguments])
        return code, *capsys.readouterr()

    return run


def _lines(name, *texts, ttl=3600):
    return [f"{name}. {ttl} IN CAA 0 {text}" for text in texts]


def test_the_pair_and_nothing_else(emit):
    code, out, err = emit("example.com", *LE)
    assert code == 0
    assert out.splitlines() == _lines("example.com", f'issue "{PINNED}"', 'issuewild ";"')
    assert err.splitlines() == [PUT]


def test_every_option_of_the_records(emit):
    _code, out, err = emit(
        *("example.com", "*.b.example.com", "Example.com.", *LE, "--account-uri", STAGING),
        *("--iodef", "mailto:a@example.com", "--ttl", "60", "--zone", "example.com"),
    )
    other = f"letsencrypt.org;validationmethods=dns-01;accounturi={STAGING}"
    both, report = [f'issue "{PINNED}"', f'issue "{other}"'], 'iodef "mailto:a@example.com"'
    wild = [text.replace("issue", "issuewild", 1) for text in both]
    assert out.splitlines() == [
        *_lines("example.com", *both, 'issuewild ";"', report, ttl=60),
        *_lines("b.example.com", *both, *wild, report, ttl=60),
    ]
    assert err.splitlines() == [
        f"{NOTE}'{STAGING}' is a staging account: no browser trusts its certificates",
        PUT,
    ]


def test_wildcard_option(emit):
    _code, out, err = emit("example.com", "--wildcard", *LE)
    texts = [f'issue "{PINNED}"', f'issuewild "{PINNED}"']
    assert out.splitlines() == _lines("example.com", *texts)
    assert err.splitlines() == [PUT]


@pytest.mark.parametrize("arguments", [["*.example.com"], ["example.com", "--wildcard"]])
def test_a_wildcard_that_no_ca_would_validate_is_noted(emit, arguments):
    _code, _out, err = emit(*arguments, "--account-uri", URI, "--method", "http-01,tls-alpn-01")
    assert f"{NOTE}CAs validate wildcards by DNS only, not by http-01,tls-alpn-01" in err


def test_the_wildcard_above_is_noted_unless_it_is_bound(emit):
    note = "*.example.com covers www.example.com: bind example.com too, or its wildcard stays open"
    assert NOTE + note in emit("www.example.com", *LE)[2]
    for names in (["www.example.com", "example.com"], ["example.com"], ["example.co.uk"]):
        assert "covers" not in emit(*names, *LE)[2]


def _account(issuer, uri):
    return Account(issuer, uri, ("http-01",))


LIVE, TRIAL = _account("letsencrypt.org", URI), _account("letsencrypt.org", STAGING)
FOREIGN = _account("ca.test", "https://ca.test/acct/1")
LAX = (
    "ca.test is not known to read accounturi, and need not before 2027-03-15: "
    "any account there may do"
)
TRIALS = "all accounts are for staging: bind that of the production directory too"
EVE = issuers.MANDATORY - timedelta(days=1)


@pytest.mark.parametrize(
    ("accounts", "today", "notes"),
    [
        ([LIVE], EVE, []),
        ([FOREIGN, FOREIGN._replace(uri="https://ca.test/acct/2"), LIVE], EVE, [LAX]),
        ([FOREIGN], issuers.MANDATORY, []),
        ([TRIAL, LIVE], EVE, []),
        ([TRIAL, TRIAL._replace(uri=STAGING + "2")], EVE, [TRIALS]),
    ],
)
def test_authorities_that_bind_little_are_noted(accounts, today, notes, capsys):
    caa_emit._note_authorities(accounts, today)
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", [NOTE + note for note in notes])


def test_authorities_are_noted_once_for_all_names(emit):
    names = ("example.com", "example.net")
    foreign = ("--account-uri", FOREIGN.uri, "--issuer", "ca.test", "--method", "dns-01")
    _code, _out, err = emit(*names, *foreign)
    assert err.splitlines().count(NOTE + LAX) == (datetime.now(UTC).date() < issuers.MANDATORY)
    _code, _out, err = emit(*names, "--account-uri", STAGING, "--method", "dns-01")
    assert err.splitlines().count(NOTE + TRIALS) == 1


@pytest.mark.parametrize("text", ["bücher.example", "xn--bcher-kva.example"])
def test_other_letters_are_shown_in_both_forms(emit, text):
    code, out, err = emit(text, *LE)
    assert code == 0
    assert out.startswith("xn--bcher-kva.example. 3600 IN CAA")
    assert err.splitlines()[0] == f"{NOTE}bücher.example is xn--bcher-kva.example"


def test_a_label_outside_idna_2008_is_noted(emit):
    code, _out, err = emit("xn--u9h.example", *LE)
    assert code == 0
    assert err.splitlines()[0] == f"{NOTE}xn--u9h.example is no valid name of IDNA 2008"


@pytest.mark.parametrize("form", list(formats.FORMATS))
def test_every_format_by_name(emit, form):
    code, out, err = emit("www.example.com", *LE, "--zone", "example.com", "--format", form)
    assert code == 0
    assert out.endswith("\n")
    assert not out.endswith("\n\n")
    lines = err.splitlines()
    assert lines[-1] == NOTE + formats.FORMATS[form].use
    assert ("CVE-2026-14440" in err) == ("cloudflare" in form)
    if "cloudflare" in form:
        assert lines[-2].startswith("certbot-enclave: warning: ")


def test_json_is_a_format(emit):
    assert emit("example.com", *LE, "--json") == emit("example.com", *LE, "--format", "json")
    (found,) = json.loads(emit("example.com", *LE, "--json", "--format", "json")[1])["sets"]
    assert [record["value"] for record in found["records"]] == [PINNED, ";"]


@pytest.mark.parametrize("option", [["--json"], ["--format", "json"]])
def test_json_of_a_failure(emit, option):
    code, out, err = emit("example.com", *option)
    assert code == 2
    assert json.loads(out)["code"] == "account-source"
    assert err.startswith("certbot-enclave: error: whose account?")


def test_dns_persist(emit):
    method = ("--account-uri", URI, "--method", "dns-persist-01")
    _code, out, _err = emit("*.example.com", *method, "--dns-persist", "01")
    assert out.splitlines()[-1] == (
        "_validation-persist.example.com. 3600 IN TXT "
        f'"letsencrypt.org;accounturi={URI};policy=wildcard"'
    )
    _code, out, _err = emit(
        *("example.com", "--account-uri", "https://ca.example/acct/123", "--issuer", "ca.example"),
        *("--method", "dns-persist-01", "--dns-persist", "02"),
        *("--thumbprint", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        *("--account-hash-prefix", "https://ca.example/account-hash/"),
    )
    # draft-ietf-acme-dns-persist-02 §10.2
    assert out.splitlines()[-1].endswith(
        "accounturi=https://ca.example/account-hash/sha-256/"
        '5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw"'
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["example.com", *LE, "--json", "--format", "zone"], "--json is not --format zone"),
        (["example.com", *LE, "--ttl", "0"], "TTL is 0"),
        (["example.com", *LE, "--ttl", "2147483648"], "TTL is 2147483648"),
        (["example.com", *LE, "--format", "azure"], "needs the zone that holds example.com"),
        (["example.com", *LE, "--zone", "example.net"], "is not in the zone example.net"),
        (["example.com", *LE, "--zone", "*.example.com"], "--zone *.example.com is no zone"),
        (["example.com", *LE, "--zone", "com"], "has a single label"),
        (["example.com", *LE, "--iodef", "a@example.com"], "iodef 'a@example.com' is no"),
        (
            ["example.com", *LE, "--format", "azure", "--dns-persist", "01"],
            "--dns-persist goes with other formats than azure",
        ),
        (["example.com", *LE, "--dns-persist", "01"], "and not dns-persist-01"),
        (
            ["example.com", *LE, "--account-hash-prefix", "https://ca.test/a/"],
            "--account-hash-prefix and --thumbprint are for --dns-persist 02",
        ),
        (
            ["example.com", *LE, "--dns-persist", "01", "--thumbprint", "t"],
            "--account-hash-prefix and --thumbprint are for --dns-persist 02",
        ),
        (
            [
                *("example.com", "--account-uri", URI, "--account-uri", STAGING),
                *("--method", "dns-persist-01", "--dns-persist", "02", "--thumbprint", "t"),
            ],
            "--thumbprint is for one account",
        ),
        (["192.0.2.1", *LE], "is an IP address"),
        (["co.uk", *LE], "is a public suffix"),
        (["a" * 64 + ".example", *LE], "is no host name"),
        (["example.com\n", *LE], "is no host name"),
        (["☃.example", *LE], "is no name of IDNA 2008"),
        (["example.com", "x", *LE], "has a single label"),
    ],
)
def test_what_cannot_be_done_is_refused(emit, arguments, words):
    code, out, err = emit(*arguments)
    lines = [line for line in err.splitlines() if not line.startswith(NOTE)]
    if "--json" in arguments:
        assert json.loads(out)["code"] == "format-twice"
        out = ""
    assert refused((code, out, "\n".join(lines)), 2, words)


def test_needless_weight_is_not_loaded():
    script = (
        "import sys; from certbot_enclave import cli; cli.main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "caa", "emit", "www.example.com", *LE],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in done.stderr.splitlines()[-1].split()}
    heavy = {"cryptography", "dns", "idna", "certbot", "acme", "josepy", "requests", "asyncio"}
    assert "certbot_enclave" in loaded
    assert loaded & (heavy | {"ssl", "socket", "tomllib", "dataclasses"}) == set()

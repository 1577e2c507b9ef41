# SPDX-License-Identifier: Apache-2.0
"""Whose account: proved by evidence, named by its URI, or found where certbot keeps it."""

import json
import os

import pytest

from certbot_enclave import errors
from certbot_enclave.cli import certbot_accounts
from tests.support.forge import STATEMENT
from tests.unit.cli.owner import World, refused

LE = "https://acme-v02.api.letsencrypt.org/"
STAGING = "https://acme-staging-v02.api.letsencrypt.org/"
NOTE = "certbot-enclave: note: "


@pytest.fixture
def world(tmp_path, capsys):
    return World(tmp_path, capsys)


def _emit(world, *arguments):
    code, out, err = world.run("caa", "emit", "example.com", *arguments)
    return (
        code,
        out,
        "".join(line for line in err.splitlines(keepends=True) if not line.startswith(NOTE)),
    )


def _pins(outcome):
    """Give the values of the issue records."""
    assert outcome[0] == 0, outcome[2]
    return [line.split('"')[1] for line in outcome[1].splitlines() if " issue " in line]


# --- evidence ---


def _proved(world, *more, evidence=None):
    return (
        *("--evidence", evidence or world.evidence(), "--policy", world.policy),
        *("--trust-root", world.root, *more),
    )


def _pin(uri, methods="http-01", issuer="letsencrypt.org"):
    return f"{issuer};validationmethods={methods};accounturi={uri}"


def test_evidence_gives_what_verify_gives(world):
    evidence = world.evidence()
    code, out, err = world.run("caa", "emit", "example.com", *_proved(world, evidence=evidence))
    assert code == 0
    verified = world.verify(evidence, "--caa")[1].splitlines()
    assert out.splitlines() == [line for line in verified if " IN CAA " in line]
    assert len(out.splitlines()) == 2
    # What was proved is said, and that it is simulated; not on stdout.
    assert err.count(f"{NOTE}proved: ") == 6
    assert f"{NOTE}SIMULATED: " in err


def test_two_enclaves(world):
    green = "https://acme-v02.api.letsencrypt.org/acme/acct/77"
    second = world.evidence(name="green.json", account_uri=green)
    outcome = _emit(world, *_proved(world, "--evidence", second))
    assert _pins(outcome) == [_pin(STATEMENT.account_uri), _pin(green)]


def test_account_of_rehearsals_is_taken_from_evidence_if_the_policy_accepts_it(world):
    uri = f"{STAGING}acme/acct/7"
    evidence = world.evidence(conditions=(f"rehearsal-account:{uri}",))
    assert refused(_emit(world, *_proved(world, evidence=evidence)), 1, "condition")
    pcrs = json.loads(world.policy.read_text())["Measurements"]
    lines = [f'{name} = "{value}"' for name, value in pcrs.items() if name.startswith("PCR")]
    accept = f'[accept]\nconditions = ["rehearsal-account:{uri}"]\n'
    world.policy = world.file(
        "policy.toml", "\n".join(["[measurements.image]", *lines, accept]).encode()
    )
    emitted = _emit(world, *_proved(world, evidence=evidence))
    assert _pins(emitted) == [_pin(STATEMENT.account_uri), _pin(uri)]
    verified = world.verify(evidence, "--caa")[1].splitlines()
    assert emitted[1].splitlines() == [line for line in verified if " IN CAA " in line]


def test_evidence_that_does_not_hold_prints_no_record(world):
    other = world.file(
        "other.json",
        json.dumps(
            {
                "Measurements": {
                    "HashAlgorithm": "Sha384 { ... }",
                    **{f"PCR{index}": "ab" * 48 for index in range(3)},
                }
            }
        ).encode(),
    )
    arguments = ("--evidence", world.evidence(), "--trust-root", world.root)
    assert refused(_emit(world, *arguments, "--policy", other), 1, "PCR0")
    good = ("--policy", world.policy)
    first = ("--evidence", world.evidence(name="first.json"))
    assert refused(
        _emit(world, *first, "--evidence", world.file("bad", b"{}"), *good, *arguments[2:]),
        1,
        "evidence",
    )
    assert refused(
        _emit(world, "--evidence", world.evidence(age=90_000), *good, *arguments[2:]), 1, "old"
    )
    assert refused(_emit(world, "--evidence", world.folder / "none", *good), 3, "cannot read")


def test_evidence_of_another_name(world):
    code, out, err = world.run("caa", "emit", "other.example.com", *_proved(world))
    assert (code, out) == (1, "")
    assert "expected other.example.com" in err


def test_nonce_is_demanded(world):
    nonce = bytes(range(16))
    live = world.evidence(name="live.json", nonce=nonce)
    assert _pins(_emit(world, *_proved(world, "--nonce", nonce.hex(), evidence=live)))
    assert refused(_emit(world, *_proved(world, "--nonce", "ab" * 16, evidence=live)), 1, "nonce")


def test_thumbprint_of_the_evidence_goes_into_dns_persist(world):
    evidence = world.evidence(validation_methods=("dns-persist-01",))
    outcome = _emit(
        world,
        *_proved(world, evidence=evidence),
        *("--dns-persist", "02", "--account-hash-prefix", "https://ca.test/hash/"),
    )
    assert outcome[0] == 0, outcome[2]
    assert "accounturi=https://ca.test/hash/sha-256/" in outcome[1].splitlines()[-1]
    given = (*_proved(world, evidence=evidence), "--dns-persist", "02", "--thumbprint", "t")
    assert refused(_emit(world, *given), 2, "--thumbprint is for one account, and without evid")


# --- options ---

NAMED = ("--account-uri", "https://ca.test/acct/1", "--issuer", "ca.test", "--method", "http-01")


@pytest.mark.parametrize(
    ("methods", "written"),
    [
        ("http-01", "http-01"),
        ("dns-01,http-01", "dns-01,http-01"),
        ("dns-01,dns-01", "dns-01"),
        ("dns-account-01,tls-alpn-01", "dns-account-01,tls-alpn-01"),
        ("ca-tbr-7", "ca-tbr-7"),
    ],
)
def test_methods(world, methods, written):
    outcome = _emit(world, *NAMED[:-1], methods)
    assert _pins(outcome) == [_pin("https://ca.test/acct/1", written, "ca.test")]


@pytest.mark.parametrize("given", [[], ["--issuer", "letsencrypt.org"]])
@pytest.mark.parametrize("base", [LE, STAGING])
def test_issuer_of_a_known_ca(world, base, given):
    uri = base + "acme/acct/5"
    outcome = _emit(world, "--account-uri", uri, "--method", "http-01", *given)
    assert _pins(outcome) == [_pin(uri)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], "account-source", "whose account?"),
        (["--method", "http-01", "--issuer", "ca.test"], "account-source", "whose account?"),
        ([*NAMED, "--policy", "p"], "account-source", "--policy is for --evidence"),
        ([*NAMED, "--image-id", "00"], "account-source", "--image-id is for --evidence"),
        ([*NAMED, "--trust-root", "r"], "account-source", "--trust-root is for --evidence"),
        ([*NAMED, "--nonce", "00"], "account-source", "--nonce is for --evidence"),
        ([*NAMED, "--server", LE], "account-source", "--acme-server is for --certbot-config"),
        (["--evidence", "e", *NAMED], "account-source", "--evidence and --account-uri exclude"),
        (["--evidence", "e", "--issuer", "ca.test"], "account-source", "--evidence and --issuer"),
        (["--evidence", "e", "--method", "dns-01"], "account-source", "--evidence and --method"),
        (["--evidence", "e", "--server", LE], "account-source", "--evidence and --acme-server"),
        (["--evidence", "e", "--certbot-config", "c"], "account-source", "--certbot-config excl"),
        (["--evidence", "e"], "policy-missing", "--evidence needs --policy or --image-id"),
        (NAMED[:4], "method-missing", "--method is missing"),
        ([*NAMED[:-1], "dns01"], "method-unknown", "'dns01' is no validation method"),
        ([*NAMED[:-1], "DNS-01"], "method-unknown", "'DNS-01' is no validation method"),
        ([*NAMED[:-1], ""], "method-unknown", "'' is no validation method"),
        ([*NAMED[:-1], "http-01,"], "method-unknown", "'' is no validation method"),
        ([*NAMED[:-1], "http-01, dns-01"], "method-unknown", "' dns-01' is no validation method"),
        ([*NAMED[:-1], "ca-Ä"], "caa-method", "are no validation method labels"),
        (
            [*NAMED[:2], *NAMED[4:]],
            "issuer-missing",
            "issuer domain name of the CA of 'https://ca.",
        ),
        (
            ["--account-uri", LE + "acme/acct/1", "--issuer", "pki.goog", "--method", "http-01"],
            "account-issuer",
            "is not at 'pki.goog', but at letsencrypt.org",
        ),
        (["--account-uri", "https://ca.test/;", *NAMED[2:]], "caa-account-uri", "is no https URL"),
        (["--account-uri", "https://ca.test/ä", *NAMED[2:]], "caa-account-uri", "is no https URL"),
        ([*NAMED[:2], "--issuer", "CA.test", *NAMED[4:]], "caa-issuer", "is no lower-case domain"),
    ],
)
def test_options_that_do_not_make_sense(world, arguments, code, words):
    assert refused(_emit(world, *arguments), 2, words)
    assert json.loads(_emit(world, *arguments, "--json")[1])["code"] == code


def test_an_account_uri_with_braces_that_some_form_would_open_is_refused(world):
    uri = ["--account-uri", "https://ca.test/${x}", *NAMED[2:]]
    assert refused(_emit(world, *uri, "--format", "terraform-aws"), 2, "is no https URL")


# --- certbot's directory ---


@pytest.fixture
def config(tmp_path):
    """Give the function that adds an account to a directory of certbot."""
    top = tmp_path / "letsencrypt"
    (top / "accounts").mkdir(parents=True)

    def add(server, number, text=None):
        folder = top / "accounts" / server / f"{number:032x}"
        folder.mkdir(parents=True, exist_ok=True)
        uri = f"https://{server.split('/')[0]}/acme/acct/{number}"
        (folder / "regr.json").write_text(text or json.dumps({"body": {}, "uri": uri}))
        (folder / "meta.json").write_text("{}")
        return uri

    add.top = top
    return add


PRODUCTION = "acme-v02.api.letsencrypt.org/directory"
TESTING = "acme-staging-v02.api.letsencrypt.org/directory"


def _stored(world, config, *arguments):
    return _emit(world, "--certbot-config", config.top, "--method", "dns-01", *arguments)


def test_the_one_account(world, config):
    uri = config(PRODUCTION, 7)
    # certbot's own link from the directory of ACMEv1
    link = config.top / "accounts" / "acme-v01.api.letsencrypt.org"
    link.mkdir()
    os.symlink(config.top / "accounts" / PRODUCTION, link / "directory")
    assert _pins(_stored(world, config)) == [_pin(uri, "dns-01")]


def test_choosing_one_of_several(world, config):
    first, second, third = config(PRODUCTION, 7), config(TESTING, 8), config(PRODUCTION, 9)
    outcome = _stored(world, config)
    assert refused(
        outcome, 2, f"has 3 accounts: {second} at https://{TESTING}, {first} at https://"
    )
    assert third in outcome[2]
    by_server = _stored(world, config, "--server", f"https://{TESTING}")
    assert _pins(by_server) == [_pin(second, "dns-01")]
    assert refused(_stored(world, config, "--server", f"https://{PRODUCTION}"), 2, "has 2 accounts")
    twice = ("--account-uri", first, "--account-uri", second, "--account-uri", first)
    both = _stored(world, config, *twice)
    assert sorted(_pins(both)) == sorted([_pin(first, "dns-01"), _pin(second, "dns-01")])


def test_accounts_that_are_not_there(world, config):
    assert refused(_stored(world, config), 2, "has no such account")
    uri = config(PRODUCTION, 7)
    assert refused(_stored(world, config, "--server", f"https://{TESTING}"), 2, "no such account")
    other = ("--account-uri", "https://ca.test/1")
    assert refused(_stored(world, config, *other), 2, "no such account")
    # One of two is not enough: the record of the other one would be missing.
    assert refused(_stored(world, config, "--account-uri", uri, *other), 2, "no such account")


def test_an_account_at_another_ca(world, config):
    uri = config("acme.example/v2/DV90", 3)
    assert refused(_stored(world, config), 2, f"CA of {uri!r} is not known")
    outcome = _stored(world, config, "--issuer", "ca.example")
    assert _pins(outcome) == [_pin(uri, "dns-01", "ca.example")]
    assert certbot_accounts.find(config.top) == (
        certbot_accounts.Stored("https://acme.example/v2/DV90", uri),
    )


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '"uri"',
        "{}",
        '{"uri": null}',
        '{"uri": ["https://ca.test/1"]}',
        r'{"uri": "https://ca.test/\n\u001b[2J"}',
        "\udcff",
        "[" * 50_000,
        '{"uri": "https://ca.test/1"}' + " " * 70_000,
    ],
    ids=["cut", "list", "text", "empty", "null", "inner-list", "control", "bytes", "deep", "long"],
)
def test_a_damaged_account(world, config, text):
    config(PRODUCTION, 7)
    path = next(config.top.rglob("regr.json"))
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    assert refused(_stored(world, config), 1, f"'{path}' is no account of certbot")


def test_an_account_in_a_folder_of_odd_name(world, config):
    config("ca.test/\x1b[2J", 7)
    assert refused(_stored(world, config), 1, r"/ca.test/\x1b[2J/")


def test_what_cannot_be_read(world, config, tmp_path):
    assert refused(_stored(world, config, "--certbot-config", tmp_path / "none"), 3, "cannot read")
    config(PRODUCTION, 7)
    path = next(config.top.rglob("regr.json"))
    path.unlink()
    path.symlink_to(path)  # a file of this name that cannot be opened, for root too
    assert refused(_stored(world, config), 3, "cannot read")


def test_a_tree_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(certbot_accounts, "MAX_FOLDERS", 3)
    (tmp_path / "accounts" / "a" / "b").mkdir(parents=True)
    assert certbot_accounts.find(tmp_path) == ()
    (tmp_path / "accounts" / "c").mkdir()
    with pytest.raises(errors.FormatError) as caught:
        certbot_accounts.find(tmp_path)
    assert caught.value.code == "accounts-too-many"

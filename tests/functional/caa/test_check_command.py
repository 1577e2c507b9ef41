# SPDX-License-Identifier: Apache-2.0
"""``caa check`` against real zones: each state of a zone is its finding, each fix mends it."""

import contextlib
import io
import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from certbot_enclave import cli, statement
from certbot_enclave.attestation import simulated
from certbot_enclave.caa import formats
from tests.functional.caa.asking import (
    ACCOUNT,
    BLUE,
    BLUE_PAIR,
    NOBODY_WILD,
    OTHER,
    PAIR,
    SUBJECT,
    findings_of,
)
from tests.support import forge
from tests.support.world.dns import DnsWorld
from tests.support.world.process import free_port


@pytest.fixture(scope="module")
def world():
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as state,
        DnsWorld(
            Path(state, "dns"),
            signed=("bare.test", "example.test", "other.test"),
            unsigned=("plain.test",),
            bogus=("bogus.test",),
        ) as world,
    ):
        world.caa("example.test", *PAIR)
        world.caa("bogus.test", *PAIR)
        world.caa("plain.test", *PAIR)
        world.caa("other.test", *PAIR)
        world.caa("sub.example.test", OTHER)
        world.update("alias.example.test", "CNAME", "www.other.test.")
        world.caa("blue.example.test", PAIR[0], BLUE_PAIR[0], NOBODY_WILD)
        yield world


@pytest.fixture
def check(world, capsys):
    def run(*arguments, resolver=None, subject=SUBJECT):
        asked = resolver or world.resolver.address
        code = cli.main(["caa", "check", "--resolver", asked, *subject, *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def table(check):
    def run(*arguments, **options):
        code, out, err = check("--json", *arguments, **options)
        assert err == ""
        return code, json.loads(out)

    return run


@pytest.mark.parametrize(
    ("names", "code"),
    [
        (["example.test"], 0),
        (["example.test", "x.bogus.test"], 3),
        (["x.bogus.test", "sub.example.test", "example.test"], 1),
    ],
)
def test_one_that_is_open_goes_before_one_that_could_not_be_told(check, names, code):
    assert check(*names)[0] == code


def test_nobody_listens(table):
    code, found = table("a.example.test", "b.example.test", resolver=f"127.0.0.1:{free_port()}")
    assert code == 3
    assert all("Connection refused" in item["findings"][0]["why"] for item in found)


@pytest.mark.parametrize("name", ["a", "b", "c"])
def test_nobody_listens_for_tls(table, name):
    resolver = f"tls://127.0.0.1:{free_port()}#resolver.test"
    code, (item,) = table(f"{name}.example.test", resolver=resolver)
    assert code == 3
    assert "Connection refused" in item["findings"][0]["why"]


def test_tls_without_the_roots_is_no_answer(world, table):
    code, (item,) = table("example.test", resolver=world.resolver.tls_address)
    assert code == 3
    assert "TLS: unable to get local issuer certificate" in item["findings"][0]["why"]


def test_resolvers_that_disagree_are_not_exclusive(world, table):
    with tempfile.TemporaryDirectory(dir="/dev/shm") as state, DnsWorld(Path(state, "d")) as liar:
        both = f"{world.resolver.address},{liar.resolver.address}"
        code, (item,) = table("example.test", resolver=both)
    assert (code, item["verdict"], findings_of(item)) == (1, "open", ["servers-disagree"])
    assert item["resolvers"] == both.split(",")


def test_an_unsigned_zone_is_pinned_where_that_is_accepted(world, table):
    second = world.start_resolver(name="second.test")
    both = f"{world.resolver.tls_address},{second.tls_address}"
    arguments = ["x.plain.test", "--resolver-roots", world.tls_root, "--allow-unsigned-zone"]
    code, (item,) = table(*arguments, resolver=both)
    assert (code, item["verdict"], item["holds"]) == (0, "pinned, zone unsigned", True)
    assert item["conditions"] == ["issuer-not-enforcing:ca.test", "zone-unsigned"]


@pytest.mark.parametrize(
    ("name", "accept", "condition"),
    [
        ("alias.example.test", ["--allow-alias-zone", "other.test"], "alias-zone:other.test"),
        ("own.bare.test", ["--allow-covering-wildcard"], "covering-wildcard-open"),
    ],
)
def test_what_is_accepted_by_name_is_said(world, table, name, accept, condition):
    if name == "own.bare.test":
        world.caa(name, *PAIR)
    code, (item,) = table(name, *accept)
    assert (code, item["verdict"]) == (0, "exclusive")
    assert condition in item["conditions"]
    assert table(name)[0] == 1


def test_all_accounts_of_ours_are_ours_and_each_has_to_be_allowed(table):
    both = ["--account-uri", BLUE, *SUBJECT]
    code, (item,) = table("blue.example.test", subject=both)
    assert (code, item["findings"]) == (0, [])
    code, (item,) = table("example.test", subject=both)
    assert (code, findings_of(item)) == (1, ["not-allowed"])
    assert item["findings"][0]["why"].startswith(f"the CA would refuse {BLUE}: ")


def test_a_ca_that_need_not_read_the_records_is_told(table):
    code, (item,) = table("example.test", subject=ACCOUNT)
    assert (code, item["verdict"], findings_of(item)) == (1, "open", ["issuer-not-enforcing"])
    assert item["conditions"] == []
    assert table("x.bogus.test", subject=ACCOUNT)[0] == 3


def test_names_in_a_file_are_checked_line_by_line(check, tmp_path):
    lines = ["# ours", "", "example.test. # the apex", "bücher.example.test", "co.uk", "-x.test"]
    wrong = [b"\xff\x1b.test", b"a" * 5000, b"x" * 200 + b"." + b"y" * 200, b"*.example.test"]
    file = tmp_path / "names"
    file.write_bytes("\n".join(lines).encode() + b"\n" + b"\n".join(wrong))
    code, out, err = check("--file", file)
    assert (code, err) == (1, "")
    heads = [line for line in out.splitlines() if not line.startswith(" ")]
    assert heads == [
        "example.test: exclusive",
        "xn--bcher-kva.example.test (bücher.example.test): exclusive",
        "co.uk: refused",
        "-x.test: refused",
        "\\255\\027.test: refused",
        "a" * 80 + ": refused",
        "x" * 200 + "." + "y" * 200 + ": refused",
        "*.example.test: open",
    ]
    assert out.count("medium: name-refused: ") == 5
    assert "line has more than 1024 bytes, which no name has" in out


def test_a_file_of_no_names_is_an_empty_list(table, tmp_path):
    (tmp_path / "names").write_text("# none yet\n")
    assert table("--file", tmp_path / "names") == (0, [])


def test_the_records_their_ttl_and_the_end_of_the_window_are_told(world, table):
    caching = world.start_resolver(caching=True)
    world.update("long.example.test", "CAA", *PAIR, ttl=50_000)
    arguments = ["long.example.test", "--published", "2020-01-01T00:00:00Z"]
    _, (item,) = table(*arguments, resolver=caching.address)
    assert item["records"] == PAIR
    assert 49_000 < item["ttl"] <= 50_000
    since = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=item["ttl"])
    assert item["since"] == f"{since:%Y-%m-%dT%H:%M:%SZ}"
    assert item["checked_at"] < item["settled"]
    _, (item,) = table(*arguments, "--old-ttl", "60")
    assert item["since"] == "2020-01-01T08:00:00Z"
    code, (item,) = table("long.example.test", "--published", "2099-01-01T00:00:00Z")
    assert (code, findings_of(item), item["findings"][0]["severity"]) == (
        0,
        ["ttl-window-open"],
        "note",
    )


def test_hundreds_of_names_ask_about_their_parents_once(world, table, tmp_path):
    names = [f"n{number}.deep.example.test" for number in range(400)]
    (tmp_path / "names").write_text("\n".join(names))
    for resolver in (world.resolver.address, world.resolver.tls_address):
        code, found = table(
            "--file", tmp_path / "names", "--resolver-roots", world.tls_root, resolver=resolver
        )
        assert code == 0
        assert [item["name"] for item in found] == names


class Terminal(io.StringIO):
    """A stderr that is a terminal."""

    def isatty(self):
        return True


def test_a_terminal_gets_one_progress_line_and_a_few_names_none(world, table, tmp_path, capsys):
    (tmp_path / "names").write_text("example.test\n" * 250)
    common = ["caa", "check", "--resolver", world.resolver.address, *SUBJECT]
    for names, line in (
        (
            ["--file", str(tmp_path / "names")],
            "".join(f"\rchecked {n} names" for n in (100, 200, 250)),
        ),
        (["example.test"], ""),
    ):
        terminal = Terminal()
        with contextlib.redirect_stderr(terminal):
            assert cli.main([*common, *names]) == 0
        assert terminal.getvalue() == line + "\n" * bool(line)
    assert capsys.readouterr().out.count("example.test: exclusive\n") == 251


def test_a_staging_account_alone_is_told_and_beside_production_it_is_not(world, check):
    def table(name, subject):
        code, out, _ = check("--json", name, subject=subject)
        return code, json.loads(out)

    host = "https://acme-{}v02.api.letsencrypt.org/acme/acct/7"
    live, staging = host.format(""), host.format("staging-")
    records = [
        formats.records_for(issuer="letsencrypt.org", methods=["http-01"], account_uri=uri)[0]
        for uri in (live, staging)
    ]
    world.caa("staging.example.test", records[1].text(), NOBODY_WILD)
    subject = ["--account-uri", staging, "--method", "http-01"]
    code, (item,) = table("staging.example.test", subject=subject)
    assert (code, item["verdict"], findings_of(item)) == (1, "open", ["staging-uri-in-production"])
    # Production first: its account is refused by a pin on staging.
    production = ["--account-uri", live, "--method", "http-01"]
    _, (item,) = table("staging.example.test", subject=production)
    assert findings_of(item)[:2] == ["foreign-account", "not-allowed"]
    world.caa("staging.example.test", *(record.text() for record in records), NOBODY_WILD)
    code, (item,) = table("staging.example.test", subject=[*production, "--account-uri", staging])
    assert (code, item["findings"], item["conditions"]) == (0, [], [])


@pytest.fixture
def proved(tmp_path):
    """Evidence of a simulated enclave for two names, and the options that name it."""
    (tmp_path / "app.bin").write_bytes(b"application")
    now = datetime.now(UTC).replace(microsecond=0)
    simulated.create(tmp_path / "enclave", [tmp_path / "app.bin"], now=now - timedelta(days=1))

    def make(*names, uri=forge.STATEMENT.account_uri, age=0, file="evidence", methods=("http-01",)):
        when = now - timedelta(seconds=age)
        (domain,) = forge.STATEMENT.domains
        text = statement.build(
            forge.STATEMENT._replace(
                issued_at=when,
                account_uri=uri,
                validation_methods=methods,
                domains=tuple(domain._replace(name=name) for name in names),
            )
        )
        attester = simulated.SimulatedAttester(str(tmp_path / "enclave"), when.timestamp)
        document = attester.attest(
            user_data=statement.user_data(text),
            public_key=forge.spki(forge.ACCOUNT),
            nonce=None,
        )
        (tmp_path / file).write_bytes(statement.build_evidence(text, document))
        return ["--evidence", str(tmp_path / file)]

    enclave = tmp_path / "enclave"
    options = ["--policy", str(enclave / "measurements.json")]
    return make, [*options, "--trust-root", str(enclave / "root.pem")]


def test_the_account_of_verified_evidence_is_the_one_to_bind(world, check, proved):
    make, options = proved
    records = formats.records_for(
        issuer="letsencrypt.org", methods=["http-01"], account_uri=forge.STATEMENT.account_uri
    )
    world.caa("proved.example.test", *(record.text() for record in records))
    subject = [*make("proved.example.test", "www.proved.example.test"), *options]
    names = ["proved.example.test", "www.proved.example.test"]
    code, out, err = check("--json", *names, subject=subject)
    found = json.loads(out)
    assert (code, [item["findings"] for item in found]) == (0, [[], []])
    assert [item["simulated"] for item in found] == [True, True]
    # What was proved is told once, not for each name.
    assert err.count("note: proved: measurements match") == 1
    assert "note: SIMULATED" in err
    # A name that the evidence is not about gets no verdict.
    code, out, _ = check("--json", "example.test", "www.proved.example.test", subject=subject)
    first, second = json.loads(out)
    assert (code, first["verdict"], findings_of(first)) == (1, "refused", ["domain"])
    assert second["verdict"] == "exclusive"


def test_evidence_that_does_not_hold_gives_no_verdict(check, proved, world):
    make, options = proved
    code, out, _ = check("example.test", subject=[*make("example.test", age=172_800), *options])
    assert code == 1
    assert "example.test: refused\n  medium: stale: document is 1728" in out
    # Not simulated by its own word, and with no root named.
    code, out, _ = check("example.test", subject=[*make("example.test"), *options[:2]])
    assert code == 1
    assert "example.test: refused\n  medium: chain-" in out


def test_enclaves_that_differ_in_their_methods_are_not_checked_together(check, proved, world):
    make, options = proved
    other = forge.STATEMENT.account_uri + "8"
    first = make("example.test")
    second = make("example.test", uri=other, file="other", methods=("dns-01",))
    code, out, err = check("example.test", subject=[*first, *second, *options])
    assert (code, out) == (2, "")
    assert f"{forge.STATEMENT.account_uri} and {other} differ in their CA or methods" in err

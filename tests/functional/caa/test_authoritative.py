# SPDX-License-Identifier: Apache-2.0
"""``caa check --authoritative``: servers that lie, lag, are lame or dead, or must not be asked."""

import errno
import json
import socket
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from certbot_enclave import cli
from certbot_enclave.caa import agreement, bulk
from tests.functional.caa.asking import PAIR, SUBJECT
from tests.support.world.dns import DnsWorld
from tests.support.world.nsd import Nsd

OLD = [text.replace("/acct/1", "/acct/0") for text in PAIR]
# What Cloudflare serves beside, or in place of, the customer's (CVE-2026-14440).
ADDED = ['0 issue "letsencrypt.org"', '0 issue "pki.goog; cansignhttpexchanges=yes"']
SECOND, DEAD, SILENT, PARENT = "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"
TWO = ("agree", "lies", "lags", "shadow", "lame", "large")


def _copy(zone, *contents, below=""):
    lines = [f"{zone}. 1 NS ns.{zone}.", f"{zone}. 1 NS ns2.{zone}.", f"*.{zone}. 1 A 127.0.0.1"]
    lines += [f"{zone}. 1 CAA {content}" for content in contents]
    return "\n".join([*lines, below]) + "\n"


LARGE = [*PAIR, *(f'0 iodef "mailto:{"x" * 60}{number}@large.test"' for number in range(40))]
COPIES = {
    "agree.test": _copy(
        "agree.test",
        *reversed(PAIR),
        below="alias.agree.test. 1 CNAME lies.test.\nmoved.agree.test. 1 DNAME lies.test.",
    ),
    "lies.test": _copy("lies.test", *PAIR, *ADDED, below=f"deep.lies.test. 1 CAA {ADDED[0]}"),
    "lags.test": _copy("lags.test", *OLD),
    "shadow.test": _copy("shadow.test", *PAIR, below='www.shadow.test. 1 CAA 0 iodef "mailto:a@b"'),
    "large.test": _copy("large.test", *LARGE),
    "sub.parent.test": _copy("sub.parent.test", *OLD),
}
DELEGATION = "".join(
    f"{line}\n"
    for line in (
        "parent.test. 1 NS ns.parent.test.",
        f"ns.parent.test. 1 A {PARENT}",
        "sub.parent.test. 1 NS ns.sub.parent.test.",
        "sub.parent.test. 1 NS ns2.agree.test.",
        "ns.sub.parent.test. 1 A 127.0.0.1",
        *(f"parent.test. 1 CAA {content}" for content in PAIR),
    )
)


@pytest.fixture(scope="module")
def world():
    with ExitStack() as stack:
        state = stack.enter_context(tempfile.TemporaryDirectory(dir="/dev/shm"))
        zones = [f"{name}.test" for name in (*TWO, "dead", "gone", "silent", "parent")]
        world = DnsWorld(Path(state, "dns"), signed=zones, unsigned=("sub.parent.test",))
        stack.enter_context(world)
        for zone in zones:
            world.caa(zone, *(LARGE if zone == "large.test" else PAIR))
        # Into the zone above: an update goes to the first that holds the name.
        world.update("sub.parent.test", "NS", "ns.sub.parent.test.")
        for name, address in [
            *((name, SECOND) for name in TWO),
            ("dead", DEAD),
            ("silent", SILENT),
        ]:
            world.update(f"ns2.{name}.test", "A", address)
            world.update(f"{name}.test", "NS", f"ns.{name}.test.", f"ns2.{name}.test.")
        world.update("ns.gone.test", "A", DEAD)
        world.update("ns.parent.test", "A", PARENT)
        world.update("alias.agree.test", "CNAME", "lies.test.")
        world.update("moved.agree.test", "DNAME", "lies.test.")
        stack.enter_context(Nsd(Path(state, "second"), SECOND, world.port, COPIES))
        parent = {"parent.test": DELEGATION}
        stack.enter_context(Nsd(Path(state, "parent"), PARENT, world.port, parent))
        yield world


@pytest.fixture
def check(world, capsys, monkeypatch):
    """Run the command with servers at the world's port, where loopback may be asked."""

    def run(*arguments, askable=lambda address: True, **options):
        reach = {"port": world.port, "askable": askable}
        monkeypatch.setattr(bulk, "Bulk", partial(BULK, **reach))
        asked = ["--resolver", world.resolver.address, "--authoritative", *SUBJECT]
        code = cli.main(["caa", "check", *asked, *map(str, arguments)])
        return code, *capsys.readouterr()

    return run


BULK = bulk.Bulk


@pytest.fixture
def table(check):
    def run(*arguments, **options):
        code, out, err = check("--json", *arguments, **options)
        assert err == ""
        return code, *json.loads(out)

    return run


def _names(item):
    return [finding["name"] for finding in item["findings"]]


def _states(item):
    return [(s["name"], s["address"], s["agrees"], s["failure"]) for s in item["servers"]]


def test_servers_that_agree_are_told(check, table):
    code, item = table("www.agree.test")
    assert (code, item["verdict"], item["findings"]) == (0, "exclusive", [])
    assert _states(item) == [
        ("ns.agree.test", "127.0.0.1", True, None),
        ("ns2.agree.test", SECOND, True, None),
    ]
    code, out, _ = check("www.agree.test")
    assert code == 0
    assert "\n  servers: 2 of 2 agree\n" in out


def test_without_the_option_no_server_is_asked(world, capsys):
    common = ["caa", "check", "--resolver", world.resolver.address, *SUBJECT, "lies.test"]
    assert cli.main([*common, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["servers"] is None
    cli.main(common)
    assert "servers:" not in capsys.readouterr().out


def test_a_server_that_adds_records_as_cloudflare_does_keeps_the_name_open(check, table):
    code, item = table("www.lies.test")
    assert (code, item["verdict"], _names(item)) == (1, "open", ["servers-disagree"])
    (finding,) = item["findings"]
    assert (finding["severity"], finding["record"]) == ("high", ADDED[0])
    assert f"lies.test, ns2.lies.test ({SECOND}) answered: {PAIR[0]}; " in finding["why"]
    assert all(text in finding["why"] for text in ADDED)
    assert "wait for the old TTL" in finding["fix"]
    assert "Cloudflare: Universal SSL" in finding["fix"]
    assert _states(item)[1] == ("ns2.lies.test", SECOND, False, None)
    code, out, _ = check("www.lies.test")
    assert "\n  servers: 1 of 2 agree\n" in out


def test_a_server_that_lags_keeps_the_name_open(table):
    code, item = table("lags.test")
    assert (code, _names(item)) == (1, ["servers-disagree"])
    assert item["findings"][0]["record"] == OLD[0]


def test_a_closer_set_that_one_server_has_is_found(table):
    code, item = table("www.shadow.test")
    assert (code, _names(item)) == (1, ["servers-disagree"])
    assert item["findings"][0]["why"].endswith(
        '0 iodef "mailto:a@b"; the resolvers were told: no CAA records'
    )
    assert table("ftp.shadow.test")[0] == 0


@pytest.mark.parametrize("name", ["alias.agree.test", "deep.moved.agree.test"])
def test_the_servers_of_an_alias_target_are_asked(table, name):
    code, item = table(name, "--allow-alias-zone", "lies.test")
    disagreeing = [f["why"] for f in item["findings"] if f["name"] == "servers-disagree"]
    assert code == 1
    assert len(disagreeing) == 1
    assert f"ns2.lies.test ({SECOND}) answered" in disagreeing[0]


@pytest.mark.parametrize(
    ("zone", "address", "failure"),
    [("lame.test", SECOND, "REFUSED"), ("dead.test", DEAD, "Connection refused")],
)
def test_a_server_that_cannot_be_asked_is_a_note(check, table, zone, address, failure):
    code, item = table(f"www.{zone}")
    assert (code, item["verdict"], _names(item)) == (0, "exclusive", ["server-lame"])
    assert item["findings"][0]["severity"] == "note"
    assert item["findings"][0]["why"].startswith(f"ns2.{zone} ({address}), for {zone}: {failure}")
    assert item["findings"][0]["why"].endswith("; CAs may meet it")
    name, asked, agrees, why = _states(item)[1]
    assert (name, asked, agrees, why.startswith(failure)) == (f"ns2.{zone}", address, None, True)
    assert "\n  servers: 1 of 2 agree\n" in check(f"www.{zone}")[1]


def test_a_server_that_is_mended_is_no_note_any_more(world, table):
    assert _names(table("www.dead.test")[1]) == ["server-lame"]
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as state,
        Nsd(Path(state, "nsd"), DEAD, world.port, {"dead.test": _copy("dead.test", *PAIR)}),
    ):
        code, item = table("www.dead.test")
    assert (code, item["findings"]) == (0, [])
    assert _states(item)[1] == ("ns2.dead.test", DEAD, True, None)


def test_a_zone_none_of_whose_servers_can_be_asked_could_not_be_told(check, table):
    code, item = table("www.gone.test")
    assert (code, item["verdict"]) == (3, "could not tell")
    assert _names(item) == ["lookup-failed", "server-lame"]
    assert item["findings"][0]["why"] == (
        "no server of gone.test could be asked about www.gone.test: "
        f"ns.gone.test ({DEAD}): Connection refused"
    )
    assert "\n  servers: 0 of 1 agree\n" in check("www.gone.test")[1]


def test_what_is_open_stays_so_when_nobody_can_be_asked(world, table):
    world.caa("open.gone.test", '0 issue "other.test"')
    code, item = table("open.gone.test")
    assert (code, item["verdict"]) == (1, "open")
    assert {"unbound-issuer", "lookup-failed"} <= set(_names(item))


def test_truncated_answers_come_over_tcp(table):
    code, item = table("large.test")
    assert (code, item["findings"]) == (0, [])
    assert [state[2] for state in _states(item)] == [True, True]


def test_a_server_that_only_the_parent_names_is_asked(table):
    code, item = table("sub.parent.test")
    disagreeing = [f["why"] for f in item["findings"] if f["name"] == "servers-disagree"]
    assert code == 1
    assert len(disagreeing) == 1
    assert f"ns2.agree.test ({SECOND}) answered: {OLD[0]}" in disagreeing[0]


@pytest.fixture
def spy(world):
    """What must not, or does not, answer."""
    with socket.socket(type=socket.SOCK_DGRAM) as listening:
        listening.bind((SILENT, world.port))
        listening.setblocking(False)
        yield listening


def test_an_address_that_must_not_be_asked_is_not(table, spy):
    code, item = table("silent.test", askable=lambda address: address != SILENT)
    assert (code, _names(item)) == (0, ["server-lame"])
    assert "not on the public Internet" in item["findings"][0]["why"]
    with pytest.raises(BlockingIOError):
        spy.recv(512)


def test_nothing_on_loopback_is_asked_by_default(world, capsys):
    asked = ["--resolver", world.resolver.address, "--authoritative", *SUBJECT]
    code = cli.main(["caa", "check", *asked, "agree.test", "--json"])
    (item,) = json.loads(capsys.readouterr().out)
    assert (code, item["verdict"], item["servers"]) == (3, "could not tell", [])
    assert (
        "no server of test could be asked who the servers of agree.test are"
        in (item["findings"][0]["why"])
    )


def test_servers_are_asked_for_many_names_at_once(check, tmp_path):
    (tmp_path / "names").write_text("".join(f"n{number}.agree.test\n" for number in range(300)))
    code, out, _ = check("--file", tmp_path / "names")
    assert code == 0
    assert out.count("  servers: 2 of 2 agree\n") == 300


def test_what_this_host_has_no_way_to_is_told_once(check, monkeypatch):
    # Whether the machine that runs this has IPv6 nobody knows; a refusal stands for no route.
    monkeypatch.setattr(agreement, "_NO_WAY", (errno.ECONNREFUSED,))
    code, out, err = check("a.dead.test", "b.dead.test")
    assert code == 0
    assert out.count("  servers: 1 of 1 agree; this host has no way to 1 more\n") == 2
    assert "server-lame" not in out
    assert err == (
        "certbot-enclave: note: some servers have addresses to which this host has no way: "
        "--json tells which\n"
    )

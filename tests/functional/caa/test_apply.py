# SPDX-License-Identifier: Apache-2.0
"""``caa diff`` and ``caa apply``: Knot serves, signs and is changed; Unbound validates."""

import json
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dns.message
import dns.query
import pytest

from certbot_enclave import cli
from tests.functional.caa.asking import BOTH, NOBODY_WILD, OTHER, PAIR, SUBJECT
from tests.support.world.dns import KEY, SECRET, DnsWorld
from tests.support.world.process import Process, accepts, free_port

IODEF = '0 iodef "mailto:owner@example.test"'
WRONG = "YW5vdGhlci1zZWNyZXQtb2YtYW5vdGhlci1vd25lcg=="
PLACES = (
    *("example.test", "www.example.test", "a.b.example.test", "b.example.test"),
    *("mail.example.test", "other.test", "www.other.test", "any.wild.other.test"),
)


@pytest.fixture(scope="module")
def zones():
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as state,
        DnsWorld(
            Path(state, "dns"), signed=("example.test", "other.test"), unsigned=("plain.test",)
        ) as world,
    ):
        world.key_file.chmod(0o600)
        world.update("alias.example.test", "CNAME", "www.other.test.")
        world.caa("*.wild.other.test", OTHER)
        yield world


@pytest.fixture(autouse=True)
def _no_records(zones):
    for name in PLACES:
        zones.caa(name)


@pytest.fixture
def run(zones, capsys):
    """Run a verb; nothing that it prints has the secret."""

    def command(verb, *arguments, resolver=zones.resolver):
        words = ["--resolver", resolver.address, *SUBJECT, *map(str, arguments)]
        code = cli.main(["caa", verb, *words])
        out, err = capsys.readouterr()
        assert SECRET not in out + err
        assert SECRET[5:15] not in out + err
        return code, out, err

    return command


@pytest.fixture
def apply(zones, run):
    def command(*arguments, key=zones.key_file, port=zones.port, **options):
        server = ["--server", f"127.0.0.1:{port}", "--key", key]
        return run("apply", *server, *arguments, **options)

    return command


def _there(world, name, port=None):
    query = dns.message.make_query(name, "CAA")
    answer = dns.query.tcp(query, "127.0.0.1", timeout=10, port=port or world.port)
    owner = dns.name.from_text(name)
    sets = [rrset for rrset in answer.answer if rrset.name == owner and rrset.rdtype == 257]
    return (
        sorted(
            f'{item.flags} {item.tag.decode()} "{item.value.decode()}"'
            for rrset in sets
            for item in rrset
        ),
        [rrset.ttl for rrset in sets],
    )


def test_from_the_diff_to_a_proven_lock(zones, run, apply):
    zones.caa("example.test", OTHER, IODEF)
    shown = "".join(
        f"{line}\n"
        for line in (
            "example.test. CAA",
            f"  {IODEF}",
            f"  {OTHER}",
            f"+ {NOBODY_WILD}",
            "www.example.test. CAA",
            f"+ {PAIR[0]}",
            f"+ {NOBODY_WILD}",
            f"+ {IODEF}",
        )
    )
    assert run("diff", "www.example.test") == (1, shown, "")
    # It shows, and stops.
    code, out, err = apply("www.example.test")
    assert (code, out) == (1, shown)
    assert err == (
        f"certbot-enclave: hint: nothing was changed; --yes does it, at 127.0.0.1:{zones.port}\n"
    )
    assert _there(zones, "www.example.test")[0] == []
    # It does it.
    before = datetime.now(UTC).replace(microsecond=0)
    code, out, err = apply("www.example.test", "--yes", "--ttl", 7)
    assert (code, err) == (0, "")
    assert out.startswith(
        f"{shown}example.test. applied to the zone example.test\n"
        "www.example.test. applied to the zone example.test\nbinds every CA from "
    )
    since = datetime.strptime(out.split()[-1], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert timedelta(hours=8) <= since - before <= timedelta(hours=8, minutes=1)
    assert _there(zones, "example.test") == (sorted([OTHER, IODEF, NOBODY_WILD]), [7])
    assert _there(zones, "www.example.test") == (sorted([*PAIR, IODEF]), [7])
    assert run("check", "www.example.test")[0] == 0
    # There is nothing to do any more.
    nothing = (0, "", "certbot-enclave: note: nothing to change, all names hold\n")
    assert run("diff", "www.example.test") == nothing
    assert apply("www.example.test", "--yes") == nothing


def test_names_of_two_zones_and_a_wildcard(zones, run, apply):
    zones.caa("www.other.test", OTHER)
    names = ["example.test", "*.example.test", "a.b.example.test", "www.other.test", "other.test"]
    code, out, err = apply(*names, "--yes", "--json")
    found = json.loads(out)
    assert (code, err) == (0, "")
    assert [(item["name"], item["zone"], item["state"]) for item in found["changes"]] == [
        ("example.test", "example.test", "applied"),
        ("other.test", "other.test", "applied"),
        ("www.other.test", "other.test", "applied"),
    ]
    assert (found["not_by_records"], found["simulated"]) == ([], False)
    assert found["changes"][2]["before"] == found["changes"][2]["removed"] == [OTHER]
    assert _there(zones, "example.test")[0] == sorted(BOTH)
    assert run("check", *names)[0] == 0


def test_the_diff_for_machines_and_in_the_forms_of_providers(zones, run):
    zones.caa("www.example.test", OTHER, IODEF)
    names = ["www.example.test", "example.test"]
    code, out, err = run("diff", "--json", *names)
    assert (code, err) == (1, "")
    assert json.loads(out) == {
        "changes": [
            {"name": "example.test", "before": [], "after": PAIR, "removed": [], "added": PAIR},
            {
                "name": "www.example.test",
                "before": [IODEF, OTHER],
                "after": [*PAIR, IODEF],
                "removed": [OTHER],
                "added": PAIR,
            },
        ],
        "not_by_records": [],
        "simulated": False,
    }
    code, out, err = run("diff", *names, "--format", "zone", "--ttl", 60)
    assert (code, out.splitlines()) == (
        1,
        [f"example.test. 60 IN CAA {text}" for text in PAIR]
        + [f"www.example.test. 60 IN CAA {text}" for text in [*PAIR, IODEF]],
    )
    assert "remove every other CAA record of the name" in err
    code, out, _ = run("diff", *names, "--format", "desec", "--zone", "example.test")
    assert [item["subname"] for item in json.loads(out)] == ["", "www"]
    assert run("diff", *names, "--format", "desec")[0] == 2
    # Nothing to change is no text at all, in every form.
    zones.caa("www.example.test")
    zones.caa("example.test", *PAIR)
    code, out, err = run("diff", *names, "--format", "desec")
    assert (code, out) == (0, "")


def test_what_no_record_closes_is_told_beside(zones, run, apply):
    code, out, err = run("diff", "plain.test")
    assert (code, out.splitlines()[0]) == (1, "plain.test. CAA")
    assert (
        "note: plain.test: insecure-zone: answers about plain.test are not authenticated by DNSSEC"
        in err
    )
    assert "hint: sign the zone and have its DS record published by the parent" in err
    # What can be done is done, and the name does not hold yet.
    code, out, err = apply("plain.test", "--yes", "--json")
    found = json.loads(out)
    assert (code, [item["state"] for item in found["changes"]]) == (1, ["applied"])
    assert [item["finding"] for item in found["not_by_records"]] == ["insecure-zone"]
    assert apply("plain.test", "--yes", "--json")[0] == 1
    zones.caa("plain.test")


def test_a_name_that_could_not_be_told_changes_nothing_and_is_3(zones, run, apply, tmp_path):
    zones.caa("example.test", *PAIR)
    code, out, err = run("diff", "www.example.nosuch", "example.test")
    assert (code, out) == (3, "")
    assert "note: www.example.nosuch: lookup-failed: " in err
    zones.caa("example.test")
    code, _, _ = apply("www.example.nosuch", "example.test", "--yes")
    assert (code, _there(zones, "example.test")[0]) == (3, sorted(PAIR))
    # Lines of a file that are no names are told too.
    (tmp_path / "names").write_text("example.test\nco.uk\n")
    code, out, err = run("diff", "--file", tmp_path / "names")
    assert (code, out) == (1, "")
    assert "note: co.uk: name-refused: 'co.uk' is a public suffix" in err


def test_a_name_with_records_from_a_dns_wildcard_gets_its_own(zones, run, apply):
    names = ["any.wild.other.test", "wild.other.test"]
    code, _, err = apply(*names, "--yes")
    assert (code, err) == (0, "")
    assert _there(zones, "any.wild.other.test")[0] == sorted(PAIR)
    assert run("check", *names)[0] == 0
    zones.caa("wild.other.test")


def test_no_record_is_put_beside_an_alias(zones, apply):
    code, out, err = apply("alias.example.test", "mail.example.test", "--yes", "--json")
    found = json.loads(out)
    assert code == 1
    assert {item["name"]: (item["state"], item["code"]) for item in found["changes"]} == {
        "example.test": ("applied", None),
        "alias.example.test": ("failed", "place-alias"),
        "mail.example.test": ("applied", None),
    }
    assert "note: not changed: alias.example.test\n" in err
    assert "error: an alias stands at alias.example.test, and no record beside one" in err
    # Where its target is accepted, the records go there.
    code, out, _ = apply(
        *("alias.example.test", "--allow-alias-zone", "other.test", "--yes", "--json")
    )
    assert code == 0
    assert [item["name"] for item in json.loads(out)["changes"]] == ["www.other.test"]
    assert _there(zones, "www.other.test")[0] == sorted(PAIR)


# --- what the server has is not what resolvers see ---


@pytest.fixture
def stale(zones, run):
    """A resolver that remembers the records of example.test for a minute."""
    zones.update("example.test", "CAA", OTHER, ttl=60)
    resolver = zones.start_resolver(caching=True)
    assert run("diff", "example.test", resolver=resolver)[0] == 1
    yield resolver
    resolver.stop()


def test_a_zone_that_was_changed_meanwhile_stays_as_it_is(zones, apply, stale):
    zones.caa("example.test", '0 issue "third.test"')
    code, out, err = apply("example.test", "--yes", "--json", resolver=stale)
    (change,) = json.loads(out)["changes"]
    assert (code, change["state"], change["code"]) == (1, "failed", "zone-moved")
    assert change["before"] == [OTHER]
    assert "has other records at example.test than resolvers see: 0 issue " in change["error"]
    assert "third.test" in err
    assert "hint: nothing was changed; wait until resolvers see them" in err
    assert json.loads(out)["binds_from"] is None
    assert _there(zones, "example.test")[0] == ['0 issue "third.test"']
    # None at all is another set too.
    zones.caa("example.test")
    assert "than resolvers see: no CAA records" in apply("example.test", "--yes", resolver=stale)[2]


def test_a_change_that_is_made_already_is_done(zones, apply, stale):
    assert apply("example.test", "--yes")[0] == 0
    code, out, err = apply("example.test", "www.example.test", "--yes", resolver=stale)
    assert (code, err) == (0, "")
    assert out.endswith("example.test. has it already: resolvers see it within the old TTL\n")
    assert "binds" not in out


# --- servers and keys ---


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        (f"hmac-sha256:nobody:{SECRET}", "tsig-key-unknown", "does not know the key nobody (hmac-"),
        (f"hmac-sha512:{KEY}:{SECRET}", "tsig-key-unknown", f"the key {KEY} (hmac-sha512)"),
        (f"hmac-sha256:{KEY}:{WRONG}", "tsig-secret", "has another secret"),
    ],
)
def test_a_key_that_the_server_does_not_take(zones, apply, tmp_path, line, code, words):
    (tmp_path / "key").write_text(line)
    (tmp_path / "key").chmod(0o600)
    status, out, err = apply("www.example.test", "--yes", "--json", key=tmp_path / "key")
    assert status == 1
    assert {item["code"] for item in json.loads(out)["changes"]} == {code}
    assert words in err
    # What failed together is told together.
    assert err.count("error: ") == len({item["error"] for item in json.loads(out)["changes"]})
    assert line.split(":")[2] not in out + err
    assert _there(zones, "www.example.test")[0] == []


def test_a_clock_that_is_wrong(zones, apply, monkeypatch):
    now = time.time
    monkeypatch.setattr("dns.message.time.time", lambda: now() + 1000)
    code, out, err = apply("example.test", "--yes", "--json")
    assert (code, json.loads(out)["changes"][0]["code"]) == (1, "tsig-time")
    assert "its clock and ours differ by more than five minutes" in err


def test_the_key_as_bind_writes_it(zones, apply, tmp_path):
    text = f'key "{KEY}" {{\n\talgorithm hmac-sha256;\n\tsecret "{SECRET}";\n}};\n'
    (tmp_path / "key").write_text(text)
    (tmp_path / "key").chmod(0o640)
    code, _, err = apply("example.test", "--yes", key=tmp_path / "key")
    assert code == 0
    assert err == (
        "certbot-enclave: note: the key file can be read by its group; chmod 600 keeps it to its "
        "owner\n"
    )


def test_a_server_that_is_not_there(zones, apply):
    port = free_port()
    code, out, err = apply("example.test", "--yes", port=port)
    assert (code, out.splitlines()[0]) == (3, "example.test. CAA")
    assert f"error: 127.0.0.1:{port}: Connection refused" in err
    assert "hint: check --server, and that it takes TCP from here" in err
    # Without --yes it is not asked.
    assert apply("example.test", port=port)[0] == 1


_ONE_ZONE = """
server:
    rundir: "{state}/run"
    listen: 127.0.0.1@{port}
    user: root
log:
  - target: stderr
    any: warning
database:
    storage: "{state}/db"
key:
  - id: {key}
    algorithm: hmac-sha256
    secret: {secret}
acl:
  - id: owner
    key: {key}
    action: [{action}]
zone:
  - domain: example.test
    storage: "{state}"
    file: example.test.zone
    acl: owner
"""


@pytest.fixture
def one_zone(tmp_path):
    """Start a Knot that has nothing but ``example.test``."""
    started = []

    def start(*, action="update"):
        port, state = free_port(), tmp_path / f"one-{len(started)}"
        for name in ("run", "db"):
            (state / name).mkdir(parents=True)
        (state / "example.test.zone").write_text(
            "example.test. 1 SOA ns.example.test. a.example.test. 1 3600 600 86400 1\n"
            "example.test. 1 NS ns.example.test.\nns.example.test. 1 A 127.0.0.1\n"
            "b.example.test. 1 NS ns.b.example.test.\nns.b.example.test. 1 A 127.0.0.1\n"
        )
        config = state / "knot.conf"
        config.write_text(
            _ONE_ZONE.format(state=state, port=port, key=KEY, secret=SECRET, action=action)
        )
        knot = Process(["knotd", "-c", config], log=state / "log", ready=lambda: accepts(port))
        started.append(knot)
        return port

    yield start
    for knot in started:
        knot.stop()


def test_a_place_in_no_zone_of_the_server_does_not_keep_the_others_from_theirs(
    zones, apply, one_zone
):
    port = one_zone()
    names = ["example.test", "other.test", "a.b.example.test"]
    zones.caa("b.example.test", OTHER)
    code, out, err = apply(*names, "--yes", "--json", port=port)
    found = {item["name"]: (item["state"], item["code"]) for item in json.loads(out)["changes"]}
    assert code == 1
    assert found == {
        "example.test": ("applied", None),
        # It refers to others for this one, and refuses to speak of that one.
        "a.b.example.test": ("failed", "zone-not-here"),
        "b.example.test": ("failed", "zone-not-here"),
        "other.test": ("failed", "zone-not-here"),
    }
    assert f"error: 127.0.0.1:{port} speaks for no zone with other.test" in err
    assert _there(zones, "example.test", port)[0] == sorted(PAIR)
    assert _there(zones, "other.test")[0] == []


def test_the_zone_can_be_named(zones, apply, one_zone):
    port = one_zone()
    names = ["example.test", "other.test", "a.b.example.test", "--yes", "--json"]
    code, out, err = apply(*names, "--zone", "example.test", port=port)
    found = {item["name"]: (item["state"], item["code"]) for item in json.loads(out)["changes"]}
    assert found == {
        "example.test": ("applied", None),
        "other.test": ("failed", "zone-not-here"),
    }
    assert "speaks for no zone example.test with other.test" in err
    # Below a cut it holds nothing, whatever the zone is called.
    zones.caa("a.b.example.test", OTHER)
    code, out, err = apply("a.b.example.test", "--yes", "--zone", "example.test", port=port)
    assert code == 1
    assert "speaks for no zone with a.b.example.test" in err
    for zone in ("www.example.test", "example.nosuch"):
        code, out, err = apply("www.example.test", "--yes", "--json", "--zone", zone, port=port)
        assert {item["code"] for item in json.loads(out)["changes"]} == {"zone-not-here"}


def test_a_key_that_may_not_update(zones, apply, one_zone):
    code, out, err = apply("example.test", "--yes", "--json", port=one_zone(action="transfer"))
    (change,) = json.loads(out)["changes"]
    assert (code, change["state"]) == (1, "failed")
    # Knot has no other word for it.
    assert change["code"] == "tsig-key-unknown"
    assert "and the key be allowed to update the zone" in err

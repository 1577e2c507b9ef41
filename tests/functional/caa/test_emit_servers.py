# SPDX-License-Identifier: Apache-2.0
"""What ``caa emit`` prints, loaded by real DNS servers: they hold our RDATA byte for byte."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import dns.zone
import pytest

from tests.support.world.dns import KEY, SECRET
from tests.support.world.process import Process, accepts, free_port, program

ZONE = "example.test"
# With what shells, lists and comments could trip over, as far as a URL may have it.
URIS = ("https://ca.test/acct/1", "https://ca.test/a'b$c%7B(d),&e!~*=+@")
NAMES = (ZONE, "*.www.example.test")
HEAD = """$ORIGIN example.test.
@ 3600 SOA ns owner 1 3600 600 86400 1
@ 3600 NS ns
ns 3600 A 127.0.0.1
"""


def _value(uri):
    return b"ca.test;validationmethods=http-01,dns-01;accounturi=" + uri.encode()


PINNED = [b"\0\x05issue" + _value(uri) for uri in URIS]
REPORT = [b"\0\x05iodefmailto:owner@example.test"]
WANTED = {
    "example.test.": sorted([*PINNED, b"\0\x09issuewild;", *REPORT]),
    "www.example.test.": sorted(
        [*PINNED, *(b"\0\x09issuewild" + _value(uri) for uri in URIS), *REPORT]
    ),
}


def _emit(form, *more):
    command = [sys.executable, "-m", "certbot_enclave", "caa", "emit", *NAMES]
    command += [word for uri in URIS for word in ("--account-uri", uri)]
    command += ["--issuer", "ca.test", "--method", "http-01,dns-01", "--format", form]
    command += ["--iodef", "mailto:owner@example.test", "--ttl", "600", *more]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def _run(*command, text=None):
    words = [program(command[0]), *map(str, command[1:])]
    done = subprocess.run(words, input=text, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _held(zone):
    """Give the CAA records of a zone that dnspython read."""
    found = {}
    for name, rdataset in zone.iterate_rdatasets(dns.rdatatype.CAA):
        assert rdataset.ttl == 600
        found[name.to_text()] = sorted(item.to_wire() for item in rdataset)
    return found


def _served(port):
    """Ask for the CAA records of both names."""
    found = {}
    for name in WANTED:
        answer = dns.query.tcp(dns.message.make_query(name, "CAA"), "127.0.0.1", 10, port)
        for rrset in answer.answer:
            assert rrset.ttl == 600
            found[name] = sorted(item.to_wire() for item in rrset)
    return found


def _answers(port):
    with contextlib.suppress(OSError, dns.exception.DNSException):
        query = dns.message.make_query(ZONE, "SOA")
        return bool(dns.query.tcp(query, "127.0.0.1", 1, port).answer)
    return False


@pytest.fixture(params=["zone", "generic"])
def zone_file(request, tmp_path):
    path = tmp_path / "example.test.zone"
    path.write_text(HEAD + _emit(request.param))
    return path


def test_bind_loads_the_zone(zone_file):
    text = _run("named-checkzone", "-q", "-D", "-o", "-", ZONE, zone_file)
    assert _held(dns.zone.from_text(text, origin=ZONE, relativize=False)) == WANTED


def test_nsd_loads_the_zone(zone_file):
    text = _run("nsd-checkzone", "-p", ZONE, zone_file).rpartition("zone example.test")[0]
    assert _held(dns.zone.from_text(text, origin=ZONE, relativize=False)) == WANTED


def test_knot_loads_the_zone(zone_file, tmp_path):
    _run("kzonecheck", "-o", ZONE, zone_file)
    port = free_port()
    for name in ("run", "db"):
        (tmp_path / name).mkdir()
    config = tmp_path / "knot.conf"
    config.write_text(
        f'server:\n    rundir: "{tmp_path}/run"\n    listen: 127.0.0.1@{port}\n    user: root\n'
        f'database:\n    storage: "{tmp_path}/db"\n'
        f'zone:\n  - domain: {ZONE}\n    file: "{zone_file}"\n'
    )
    knot = Process(["knotd", "-c", config], log=tmp_path / "log", ready=lambda: _answers(port))
    try:
        assert _served(port) == WANTED
    finally:
        knot.stop()


@pytest.mark.parametrize("client", ["nsupdate", "knsupdate"])
@pytest.mark.parametrize("zoned", [True, False], ids=["zone-named", "zone-found"])
def test_an_update_replaces_what_was_there(world, owner, client, zoned):
    for name in WANTED:
        owner.caa(name.rstrip("."), '0 issue "other.test"')
    text = _emit("nsupdate", *(["--zone", ZONE] if zoned else []))
    if client == "knsupdate" and not zoned:
        # It cannot find the zone by itself, and says so.
        text = f"zone {ZONE}.\n{text}"
    server = f"server 127.0.0.1 {world.port}\n"
    _run(client, "-y", f"hmac-sha256:{KEY}:{SECRET}", text=server + text)
    assert _served(world.port) == WANTED


class PowerDns:
    """PowerDNS with one empty zone."""

    def __init__(self, folder):
        self.port, api = free_port(), free_port()
        self._base = f"http://127.0.0.1:{api}/api/v1/servers/localhost/zones/{ZONE}."
        database = folder / "db.sqlite3"
        schema = Path("/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql")
        with contextlib.closing(sqlite3.connect(database)) as base, base:
            base.executescript(schema.read_text())
            base.execute("INSERT INTO domains (name, type) VALUES (?, 'NATIVE')", (ZONE,))
            base.execute(
                "INSERT INTO records (domain_id, name, type, content, ttl, auth) "
                "VALUES (1, ?, 'SOA', 'ns.example.test owner.example.test 1 1 1 1 1', 1, 1)",
                (ZONE,),
            )
        config = folder / "pdns.conf"
        config.write_text(
            f"launch=gsqlite3\ngsqlite3-database={database}\nsocket-dir={folder}\n"
            f"local-address=127.0.0.1\nlocal-port={self.port}\ndaemon=no\nguardian=no\n"
            f"api=yes\napi-key=test\nwebserver=yes\nwebserver-address=127.0.0.1\n"
            f"webserver-port={api}\nsecurity-poll-suffix=\nquery-cache-ttl=0\ncache-ttl=0\n"
        )
        self._process = Process(
            ["pdns_server", f"--config-dir={folder}"],
            log=folder / "log",
            ready=lambda: accepts(api) and _answers(self.port),
        )

    def patch(self, text):
        request = urllib.request.Request(
            self._base, text.encode(), {"X-API-Key": "test"}, method="PATCH"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 204

    def stop(self):
        self._process.stop()


@pytest.fixture
def powerdns():
    program("pdns_server")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        server = PowerDns(Path(folder))
        yield server
        server.stop()


def test_powerdns_replaces_what_was_there(powerdns):
    text = _emit("powerdns")
    other = json.loads(text)
    for found in other["rrsets"]:
        found["records"] = [{"content": '0 issue "other.test"', "disabled": False}]
    powerdns.patch(json.dumps(other))
    assert {name: found[0] for name, found in _served(powerdns.port).items()} == dict.fromkeys(
        WANTED, b"\0\x05issueother.test"
    )
    powerdns.patch(text)
    assert _served(powerdns.port) == WANTED


TXT = {
    f"_validation-persist.{name}": sorted(
        f"ca.test;accounturi={uri}{policy}".encode() for uri in URIS
    )
    for name, policy in (("example.test.", ""), ("www.example.test.", ";policy=wildcard"))
}
PERSIST = ("--method", "dns-persist-01", "--dns-persist", "01")


@pytest.mark.parametrize("form", ["zone", "generic"])
def test_bind_loads_the_txt_records_beside(form, tmp_path):
    path = tmp_path / "example.test.zone"
    path.write_text(HEAD + _emit(form, *PERSIST))
    text = _run("named-checkzone", "-q", "-D", "-o", "-", ZONE, path)
    zone = dns.zone.from_text(text, origin=ZONE, relativize=False)
    assert TXT == {
        name.to_text(): sorted(b"".join(item.strings) for item in rdataset)
        for name, rdataset in zone.iterate_rdatasets(dns.rdatatype.TXT)
    }


@pytest.mark.parametrize("client", ["nsupdate", "knsupdate"])
def test_an_update_adds_the_txt_records_beside(world, owner, client):
    for name in WANTED:
        owner.caa(name.rstrip("."))
    text = _emit("nsupdate", "--zone", ZONE, *PERSIST)
    server = f"server 127.0.0.1 {world.port}\n"
    _run(client, "-y", f"hmac-sha256:{KEY}:{SECRET}", text=server + text)
    for name, wanted in TXT.items():
        answer = dns.query.tcp(dns.message.make_query(name, "TXT"), "127.0.0.1", 10, world.port)
        (rrset,) = answer.answer
        assert sorted(b"".join(item.strings) for item in rrset) == wanted
        world.update(name.rstrip("."), "TXT")

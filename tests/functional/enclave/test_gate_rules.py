# SPDX-License-Identifier: Apache-2.0
"""What stands between names and an open gate, in this process, with real DNS and a real CA."""

import time
from dataclasses import replace

import pytest

from certbot_enclave import errors, statement
from certbot_enclave.attestation import simulated
from certbot_enclave.issuance import Issuance
from certbot_enclave.runtime import Directories, start

NAMES = frozenset({"example.test"})


class Clock:
    """Time that passes only by sleeping, and what happens then."""

    def __init__(self):
        self.now = 0.0
        self.then = lambda: None

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds
        self.then()


@pytest.fixture
def begin(shm, ca, world, owner, monkeypatch):
    """Start a run with these settings; register too, unless told otherwise."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    image = shm / "app.bin"
    image.write_bytes(b"code")
    simulated.create(shm / "enclave", [image])
    where = f"simulated:{shm / 'enclave'}"
    usual = {
        "attester": where,
        "sealer": where,
        "store": f"file:{shm / 'bundle'}",
        "server": ca.directory_url,
        "ca_roots": str(ca.tls_root),
        "resolver": (world.resolver.address,),
        "allow_issuer": ("ca.test",),
    }

    def begin(*, register=True, **settings):
        places = Directories(*(shm / name for name in ("config", "work", "logs")))
        lines = []
        issuance = Issuance(start({**usual, **settings}, places), report=lines.append)
        issuance.lines = lines
        if register:
            issuance.register(ca.directory_url, agree_tos=True)
        return issuance

    return begin


def _code(call, *args, **kwargs):
    with pytest.raises(errors.Error) as caught:
        call(*args, **kwargs)
    return caught.value.code


def _open(issuance, clock=None):
    clock = clock or Clock()
    issuance.open_gate(NAMES, sleep=clock.sleep, monotonic=clock.monotonic)
    return issuance.registered.handle.binding.gate


def test_gate_is_bound_to_the_key_only_when_it_is_open(begin, owner):
    issuance = begin(domains=("example.test",))
    assert _code(_open, issuance) == "caa-open"
    assert issuance.registered.handle.binding.gate is None
    owner.publish(issuance.records(NAMES))
    assert _open(issuance).require(NAMES) is None
    assert issuance.ordered == NAMES


def test_closed_gate_names_the_records(begin):
    issuance = begin()
    with pytest.raises(errors.GateError) as caught:
        _open(issuance)
    assert caught.value.records[1:] == issuance.records(NAMES)


def test_every_look_at_the_gate_checks_the_clock(begin, owner):
    issuance = begin()
    owner.publish(issuance.records(NAMES))
    right = issuance.runtime
    issuance.runtime = replace(right, clock=lambda: time.time() + 61)
    assert _code(_open, issuance) == "clock-wrong"
    issuance.runtime = right
    gate = _open(issuance)
    issuance.runtime = replace(right, clock=lambda: time.time() - 61)
    assert _code(gate.check_again, NAMES) == "clock-wrong"


def test_waiting_ends_when_the_records_are_there(begin, owner):
    issuance = begin(wait_for_caa="30m")
    clock = Clock()
    clock.then = lambda: owner.publish(issuance.records(NAMES)) if clock.now > 100 else None
    assert _open(issuance, clock).require(NAMES) is None
    assert 100 < clock.now < 130
    assert sum("waiting" in line for line in issuance.lines) == len(range(0, int(clock.now), 15))


def test_waiting_ends_when_time_is_up(begin):
    clock = Clock()
    assert _code(_open, begin(wait_for_caa="30m"), clock) == "caa-open"
    assert clock.now == 1800


def test_evidence_is_there_while_the_owner_is_awaited(begin):
    issuance = begin(wait_for_caa="15s", domains=("example.test",))
    seen = []

    def look():
        data = issuance.runtime.evidence_path.read_bytes()
        said = statement.parse(statement.parse_evidence(data).text)
        seen.append([(item.name, item.verdict) for item in said.domains])

    clock = Clock()
    clock.then = look
    assert _code(_open, issuance, clock) == "caa-open"
    assert seen == [[("example.test", "open")]]


def test_lookup_that_fails_closes(begin):
    issuance = begin(resolver=("tls://127.0.0.1:1#down.test",))
    assert _code(_open, issuance) == "lookup-failed"
    (verdict,) = issuance.glance(NAMES)
    assert (verdict.word, verdict.opens_gate) == ("open", False)


@pytest.mark.parametrize(
    ("names", "settings", "code"),
    [
        ([], {}, "names-missing"),
        (["*.example.test"], {}, "name-wildcard"),
        (["192.0.2.1"], {}, "name-refused"),
        (["a.test"], {"domains": ("example.test",)}, "name-unlisted"),
    ],
)
def test_names_are_checked(begin, names, settings, code):
    assert _code(begin(register=False, **settings).names, names) == code


def _real(runtime):
    """The same run, as if hardware stood behind it."""
    component = type("Real", (), {"simulated": False})()
    return replace(runtime, attester=component, sealer=component)


def test_real_enclave_without_listed_domains_may_ask_for_nothing(begin):
    issuance = begin(register=False)
    assert issuance.names(["Example.TEST."]) == NAMES
    issuance.runtime = _real(issuance.runtime)
    assert _code(issuance.names, ["example.test"]) == "name-unlisted"


def test_real_enclave_hands_keys_to_ram_only(begin):
    runtime = begin(register=False, deploy="files:/proc/tls").runtime
    assert _code(Issuance, _real(runtime), print) == "directory-on-disk"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"ca_roots": "/no/such/file"}, "roots-unreadable"),
        ({"resolver_roots": "/no/such/file"}, "roots-unreadable"),
        ({"resolver": ("192.0.2.1",)}, "resolver-plain"),
        ({"resolver": ("127.0.0.1", "127.0.0.1:53")}, "resolver-twice"),
        ({"wait_for_caa": "soon"}, "setting-invalid"),
        ({"challenge": "dns-01"}, "setting-invalid"),
        ({"deploy": "nginx"}, "deploy-invalid"),
        ({"deploy": "files:/dev/null/tls"}, "directory-unwritable"),
    ],
)
def test_settings_that_cannot_work_are_said_before_anything_is_registered(
    begin, ca, settings, code
):
    assert _code(begin, **settings) == code
    assert ca.accounts() == []


def test_issuer_must_be_known_and_right(begin, ca):
    assert begin().issuers() == ("ca.test",)
    assert begin(caa_issuer="ca.test").issuers() == ("ca.test",)
    assert _code(begin(caa_issuer="other.test").issuers) == "issuer-mismatch"
    ca.change(caa_identities=[])
    assert _code(begin().issuers) == "issuer-unknown"
    assert begin(caa_issuer="other.test").issuers() == ("other.test",)


def test_register_comes_first(begin):
    with pytest.raises(RuntimeError):
        assert begin(register=False).registered


def test_further_account_keeps_evidence_and_settings(begin, new_ca, owner, monkeypatch):
    """A staging account beside the enclave's own."""
    first = begin(domains=("example.test",))
    first.adopt(first.registered.ca.url, NAMES)
    first.renew_evidence()
    kept = first.runtime.evidence_path.read_bytes()
    staging = new_ca()
    second = begin(register=False, server=staging.directory_url, ca_roots=str(staging.tls_root))
    second.register(staging.directory_url, agree_tos=True)
    assert (first.own, second.own) == (True, False)
    assert _code(_open, second) == "caa-open"
    assert second.runtime.evidence_path.read_bytes() == kept

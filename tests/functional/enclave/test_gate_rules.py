# SPDX-License-Identifier: Apache-2.0
"""What stands between names and an open gate, in this process, with real DNS and a real CA."""

import shutil
import time
from dataclasses import replace
from datetime import UTC, datetime

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


class Days:
    """The hardware's clock and the enclave's, which agree and go on as told."""

    def __init__(self, now=None):
        self.now = time.time() if now is None else now

    def pass_(self, hours=0, seconds=0):
        self.now += hours * 3600 + seconds

    def of(self, issuance):
        """Have a run go by this clock."""
        hardware = simulated.SimulatedAttester(
            issuance.runtime.settings.text("attester").removeprefix("simulated:"), lambda: self.now
        )
        issuance.runtime = replace(issuance.runtime, attester=hardware, clock=lambda: self.now)
        return issuance


def _said(issuance):
    """What evidence made now says of the domain, and its conditions; it is verified elsewhere."""
    said = statement.parse(statement.parse_evidence(issuance.evidence()).text)
    (domain,) = said.domains
    return domain, said.conditions


def test_a_ca_not_known_to_read_the_records_closes_the_gate(begin, owner):
    days = Days(datetime(2027, 3, 14, 23, tzinfo=UTC).timestamp())
    issuance = days.of(begin(allow_issuer=(), domains=("example.test",)))
    owner.publish(issuance.records(NAMES))
    with pytest.raises(errors.GateError) as caught:
        _open(issuance)
    assert caught.value.code == "caa-open"
    assert "ca.test is not known to read accounturi" in str(caught.value)
    assert "accept it with --enclave-allow-issuer ca.test" in str(caught.value)
    assert _said(issuance)[0].verdict == "open"


def test_a_ca_that_is_accepted_is_a_condition_until_every_ca_reads_the_records(begin, owner):
    days = Days(datetime(2027, 3, 14, 23, tzinfo=UTC).timestamp())
    issuance = days.of(begin(domains=("example.test",)))
    owner.publish(issuance.records(NAMES))
    _open(issuance)
    domain, conditions = _said(issuance)
    assert domain.verdict == "exclusive"
    assert conditions == ("issuer-not-enforcing:ca.test", "simulated")
    # By itself it goes, and the claim without it begins then.
    days.pass_(hours=1)
    _open(issuance)
    domain, conditions = _said(issuance)
    assert (domain.verdict, conditions) == ("exclusive", ("simulated",))
    assert domain.since == datetime(2027, 3, 15, 8, tzinfo=UTC)


@pytest.fixture
def story(begin, owner):
    """Begin runs of one enclave that go by one clock; the records are there from the start."""
    days = Days()

    def another(**settings):
        return days.of(begin(**{"domains": ("example.test",), **settings}))

    first = another()
    owner.publish(first.records(NAMES))
    return days, another


def _hours(days, domain):
    """From the clock's time to `since`, in hours."""
    return round((domain.since.timestamp() - int(days.now)) / 3600, 3)


def test_since_is_the_first_look_that_found_the_records_and_eight_hours(story):
    days, another = story
    _open(another())
    domain, _ = _said(another())
    assert (domain.verdict, _hours(days, domain)) == ("exclusive", 8)
    assert domain.checked_at.timestamp() == int(days.now)
    # An open window does not close the gate, and other runs do not begin it anew.
    days.pass_(hours=3)
    _open(another())
    days.pass_(hours=6)
    assert _hours(days, _said(another())[0]) == -1


def test_since_counts_the_ttl_that_the_zone_signed_for_what_was_there_before(begin, owner, world):
    days = Days()
    issuance = days.of(begin(domains=("example.test",)))
    world.update("example.test", "CAA", '0 issue "ca.test"', ttl=86400)
    assert _said(issuance)[0].since is None
    records = issuance.records(NAMES)
    owner.publish(records)
    issuance.glance(NAMES)
    domain, _ = _said(issuance)
    assert (domain.verdict, _hours(days, domain)) == ("exclusive", 24)


def test_other_records_begin_since_anew_and_open_ones_have_none(story, owner):
    days, another = story
    issuance = another()
    issuance.glance(NAMES)
    days.pass_(hours=20)
    owner.caa("example.test", '0 issue "ca.test"')
    issuance.glance(NAMES)
    domain, _ = _said(issuance)
    assert (domain.verdict, domain.since) == ("open", None)
    days.pass_(hours=1)
    owner.publish(issuance.records(NAMES))
    issuance.glance(NAMES)
    assert _hours(days, _said(issuance)[0]) == 8


def test_a_lookup_that_fails_claims_nothing_and_begins_nothing_anew(story):
    days, another = story
    _open(another())
    days.pass_(hours=9)
    failed = another(resolver=("tls://127.0.0.1:1#down.test",))
    failed.glance(NAMES)
    domain, _ = _said(failed)
    assert (domain.verdict, domain.since) == ("open", None)
    assert _hours(days, _said(another())[0]) == -1


def _reboot(shm):
    for folder in ("config", "work", "logs"):
        shutil.rmtree(shm / folder, ignore_errors=True)


def test_since_survives_a_reboot_in_the_bundle(story, shm):
    days, another = story
    # Neither a run that ended well nor evidence was needed for it: the look alone is sealed.
    another().glance(NAMES)
    days.pass_(hours=9)
    _reboot(shm)
    assert _hours(days, _said(another())[0]) == -1


def test_what_closed_the_gate_survives_a_reboot_too(story, shm, owner):
    days, another = story
    issuance = another()
    _open(issuance)
    days.pass_(hours=9)
    owner.caa("example.test", '0 issue "ca.test"')
    assert _code(_open, issuance) == "caa-open"
    owner.publish(issuance.records(NAMES))
    _reboot(shm)
    assert _hours(days, _said(another())[0]) == 8


def test_an_older_bundle_hides_what_was_found_later_and_dates_nothing_back(story, shm, owner):
    """What docs/evidence.md says of a host that brings back older state."""
    days, another = story
    _open(another())
    older = (shm / "bundle").read_bytes()
    days.pass_(hours=9)
    owner.caa("example.test", '0 issue "ca.test"')
    issuance = another()
    issuance.glance(NAMES)
    newest = issuance.runtime.state.mark().generation
    owner.publish(issuance.records(NAMES))
    (shm / "bundle").write_bytes(older)
    _reboot(shm)
    issuance = another()
    assert _hours(days, _said(issuance)[0]) == -1
    assert issuance.runtime.state.mark().restored_from < newest


def test_an_unchanged_look_writes_nothing(story, shm):
    _, another = story
    _open(another())
    sealed = (shm / "bundle").read_bytes()
    _open(another())
    assert (shm / "bundle").read_bytes() == sealed


def test_what_could_not_be_sealed_is_sealed_at_the_next_look(story, shm):
    days, another = story
    issuance = another()
    good = issuance.runtime
    bad = another(store=f"file:{shm / 'gone' / 'bundle'}").runtime
    issuance.runtime = replace(good, state=bad.state)
    assert _code(issuance.glance, NAMES) == "store-unreachable"
    issuance.runtime = good
    issuance.glance(NAMES)
    days.pass_(hours=9)
    _reboot(shm)
    assert _hours(days, _said(another())[0]) == -1


def test_damaged_memory_begins_since_anew(story, shm):
    days, another = story
    _open(another())
    days.pass_(hours=9)
    (shm / "config" / "enclave" / "looks.json").write_bytes(b"{}}")
    assert _hours(days, _said(another())[0]) == 8


def test_a_trial_remembers_nothing(story):
    days, another = story
    trial = Issuance(another().runtime, print, trial=True)
    trial.register(trial.runtime.settings.text("server"), agree_tos=True)
    trial.glance(NAMES)
    assert _said(trial)[0].since is None
    days.pass_(hours=1)
    assert _hours(days, _said(another())[0]) == 8


def test_every_look_is_at_a_time_that_the_hardware_agrees_with(story):
    days, another = story
    issuance = another()
    issuance.runtime = replace(issuance.runtime, clock=lambda: days.now - 3600)
    assert _code(issuance.glance, NAMES) == "clock-wrong"
    assert _hours(days, _said(another())[0]) == 8


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
        ({"staging_rehearsal": "http://127.0.0.1/directory"}, "directory-url"),
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

# SPDX-License-Identifier: Apache-2.0
"""What a run inside demands before it does anything: components, settings, directories, time."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from certbot_enclave import errors, runtime
from certbot_enclave.attestation import entropy, nsm, oyster, simulated
from certbot_enclave.attestation.oyster import OysterAttester
from certbot_enclave.runtime import Directories, Runtime, start
from certbot_enclave.sealing.simulated import SimulatedSealer
from certbot_enclave.sealing.state import State
from certbot_enclave.settings import Settings
from tests.support.components import BrokenAttester, HardwareAttester, MemoryStore
from tests.support.world.oyster import Oyster

NOW = 1_800_000_000.0


def _code(*args, kind=errors.Error, **kwargs):
    with pytest.raises(kind) as caught:
        start(*args, **kwargs)
    return caught.value.code


def test_simulated_enclave_starts_when_it_is_named(options, directories):
    found = start(options, directories)
    assert found.simulated
    assert found.evidence_path == directories.config / "enclave" / "evidence.json"


def test_nothing_is_simulated_unless_it_is_named(options, directories):
    del options["attester"]
    assert _code(options, directories, kind=errors.EnclaveError) == "enclave-missing"


@pytest.mark.parametrize("name", ["sealer", "store"])
def test_what_is_not_named_is_missing(options, directories, name):
    del options[name]
    assert _code(options, directories, kind=errors.PolicyError) == f"{name}-missing"


def test_real_enclave_starts_from_its_measured_file_alone(real, directories):
    found = start({}, directories)
    assert not found.simulated
    assert found.settings.list("domains") == ("example.test",)


def test_real_enclave_without_a_measured_file(real, directories, simulator):
    Path(runtime.MEASURED_FILE).unlink()
    given = {"attester": f"hardware:{simulator}", "sealer": "safe:one", "store": "file:/x"}
    assert _code(given, directories) == "settings-unmeasured"


def test_measured_file_that_cannot_be_read(real, directories):
    Path(runtime.MEASURED_FILE).unlink()
    Path(runtime.MEASURED_FILE).mkdir()
    assert _code({}, directories) == "settings-unreadable"


def test_real_enclave_reads_no_other_file(real, directories, tmp_path):
    other = tmp_path / "other.toml"
    other.write_text(Path(runtime.MEASURED_FILE).read_text())
    assert _code({}, directories, measured=str(other)) == "settings-path"


def test_host_cannot_name_another_attester(real, directories, options):
    assert _code(options, directories) == "settings-contradicted"


def test_saved_settings_of_a_real_enclave_cannot_contradict(real, directories):
    path = directories.config / "enclave" / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"attester": "simulated:/host"}')
    assert _code({}, directories) == "settings-contradicted"


@pytest.mark.parametrize("where", ["option", "saved"])
def test_endpoint_of_the_key_service_is_the_measured_one(real, directories, where):
    """Whoever is asked in its place to encrypt would see a data key."""
    theirs = {"aws_endpoint": "https://kms.host.test"}
    path = directories.config / "enclave" / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(theirs if where == "saved" else {}))
    assert _code(theirs if where == "option" else {}, directories) == "settings-contradicted"
    real(**theirs)
    assert start({}, directories).settings.text("aws_endpoint") == "https://kms.host.test"


def test_damaged_saved_settings_are_said(options, directories):
    path = directories.config / "enclave" / "settings.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"attester"')
    assert _code(options, directories) == "settings-saved"


def test_real_enclave_never_seals_with_a_simulated_sealer(real, directories, simulator):
    real(sealer=f"simulated:{simulator}")
    assert _code({}, directories) == "sealer-simulated"


def test_nothing_is_stored_only_of_a_key_that_is_not_lost(options, directories):
    options["store"] = "none:"
    assert _code(options, directories, kind=errors.PolicyError) == "store-none"
    assert start({**options, "account_key": "derived"}, directories).settings["store"] == "none:"


def test_mock_of_oysters_key_service_is_a_simulated_sealer(real, directories):
    real(sealer="oysterkms:mock")
    assert _code({}, directories) == "sealer-simulated"
    real(sealer="oysterkms:")
    assert start({}, directories).sealer.key == "image"


def test_enclave_with_the_device_is_never_simulated(monkeypatch, options, directories, tmp_path):
    device = tmp_path / "nsm"
    device.touch()
    monkeypatch.setattr(runtime, "NSM", str(device))
    assert _code(options, directories) == "attester-simulated"


@pytest.mark.parametrize("name", ["config", "work", "logs", "tmp"])
def test_real_enclave_keeps_everything_in_ram(monkeypatch, real, directories, shm, name):
    disk = Path(__file__).parent / "never-made"
    places = {part: shm / part for part in ("config", "work", "logs")}
    if name == "tmp":
        monkeypatch.setattr("tempfile.tempdir", str(disk.parent))
    else:
        places[name] = disk
    assert _code({}, Directories(**places)) == "directory-on-disk"
    real(allow_disk=True)
    assert not start({}, Directories(**places)).simulated


@pytest.mark.parametrize("name", ["accounts", "archive", "keys"])
def test_real_enclave_follows_no_link_to_a_disk(real, directories, name):
    directories.config.mkdir()
    (directories.config / name).symlink_to(Path(__file__).parent)
    assert _code({}, directories) == "directory-on-disk"
    real(allow_disk=True)
    assert start({}, directories).settings.stated()["allow_disk"] is True


def test_real_enclave_without_a_temporary_directory(monkeypatch, real, directories):
    def none():
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr("tempfile.gettempdir", none)
    assert _code({}, directories, kind=errors.PolicyError) == "directory-temporary"


def test_unwritable_directory_is_said(options, shm):
    (shm / "file").touch()
    places = Directories(shm / "file", shm / "work", shm / "logs")
    assert _code(options, places) == "directory-unwritable"


def test_real_enclave_is_bound_to_its_directory(real, directories):
    found = start({}, directories)
    assert found.require_server("https://ca.test/directory") is None
    with pytest.raises(errors.PolicyError) as caught:
        found.require_server("https://host.test/directory")
    assert caught.value.code == "settings-contradicted"


def test_real_enclave_rehearses_where_its_file_says(real, directories):
    real(staging_rehearsal="https://staging.test/directory")
    found = start({}, directories)
    assert found.require_server("https://staging.test/directory", trial=True) is None
    for url, trial in (
        ("https://staging.test/directory", False),
        ("https://host.test/directory", True),
        ("", True),
    ):
        with pytest.raises(errors.PolicyError) as caught:
            found.require_server(url, trial=trial)
        assert caught.value.code == "settings-contradicted"


def test_simulated_enclave_may_try_another_directory(options, directories):
    found = start(options, directories)
    assert found.require_server("https://staging.test/directory") is None


def _runtime(simulator, directories, apart, attester=None):
    attester = attester or simulated.SimulatedAttester(str(simulator), clock=lambda: NOW)
    sealer = SimulatedSealer(str(simulator))
    state = State(directories.config, store=MemoryStore(), sealer=sealer, attester=attester)
    return Runtime(Settings({}), directories, attester, sealer, state, lambda: NOW + apart)


@pytest.fixture
def old_root(tmp_path):
    """A simulated enclave whose root was valid at NOW."""
    image = tmp_path / "old.bin"
    image.write_bytes(b"code")
    simulated.create(tmp_path / "old", [image], now=datetime.fromtimestamp(NOW - 9, UTC))
    return tmp_path / "old"


@pytest.mark.parametrize("apart", [-60.0, 0.0, 60.0])
def test_clock_near_the_hardwares_is_right(old_root, directories, apart):
    assert _runtime(old_root, directories, apart).look().timestamp_ms == NOW * 1000


@pytest.mark.parametrize("apart", [-61.0, 61.0, 86400.0])
def test_clock_that_the_host_set_is_noticed(old_root, directories, apart):
    with pytest.raises(errors.EnclaveError) as caught:
        _runtime(old_root, directories, apart).look()
    assert caught.value.code == "clock-wrong"


def test_attester_must_verify_under_its_own_root(old_root, simulator, directories):
    genuine = simulated.SimulatedAttester(str(simulator), clock=lambda: NOW)
    document = genuine.attest(user_data=b"", public_key=b"k", nonce=None)
    other = simulated.SimulatedAttester(str(old_root), clock=lambda: NOW)
    for broken in (BrokenAttester(b"no document"), BrokenAttester(document, other.trust_root)):
        with pytest.raises(errors.EnclaveError) as caught:
            _runtime(old_root, directories, 0.0, broken).look()
        assert caught.value.code == "attester-broken"


def test_saved_settings_are_read_again(options, directories):
    found = start({**options, "deploy": "files:/run/tls"}, directories)
    found.save_settings()
    again = start({}, directories)
    assert again.settings == found.settings
    path = directories.config / "enclave" / "settings.json"
    assert path.stat().st_mode & 0o777 == 0o600


def test_core_dumps_are_off_before_anything_else(monkeypatch, options, directories):
    def refused():
        raise errors.EnclaveError("core dumps cannot be switched off", code="core-dumps")

    monkeypatch.setattr(runtime.ram, "forbid_core_dumps", refused)
    assert _code({**options, "attester": "nonsense:x"}, directories) == "core-dumps"


# --- whose environment this is ---


@pytest.fixture
def places(monkeypatch, tmp_path):
    """Where /dev/nsm and Oyster's key file would be; neither is there."""
    monkeypatch.setattr(nsm, "PATH", str(tmp_path / "nsm"))
    monkeypatch.setattr(oyster, "KEY_FILE", str(tmp_path / "ecdsa.sec"))
    return tmp_path


@pytest.fixture
def oyster_server(places):
    with Oyster(places) as started:
        yield started


def test_without_any_enclave_every_reason_is_told(places, options, directories):
    del options["attester"]
    with pytest.raises(errors.EnclaveError) as caught:
        start(options, directories)
    assert caught.value.code == "enclave-missing"
    for name in ("nsm", "ecdsa.sec"):
        assert f"there is no {places / name}" in str(caught.value)
    assert "no simulated one was named" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_simulated_enclave_is_never_found_by_itself(places, options, directories, simulator):
    del options["attester"]
    options["sealer"] = f"simulated:{simulator}"
    assert _code(options, directories) == "enclave-missing"


def test_oyster_is_found_where_there_is_no_device(oyster_server, real, directories):
    real(attester="auto")
    found = start({}, directories)
    assert isinstance(found.attester, OysterAttester)
    assert (found.simulated, oyster_server.asked) == (False, [])


def test_device_comes_first_and_if_it_is_broken_nothing_else_is_asked(
    oyster_server, places, real, directories
):
    (places / "nsm").write_bytes(b"no device")
    real(attester="auto")
    assert _code({}, directories, kind=errors.EnclaveError) == "nsm-device"


def test_broken_key_of_oyster_is_told(oyster_server, real, directories):
    oyster_server.key_file.write_bytes(bytes(31))
    real(attester="auto")
    assert _code({}, directories, kind=errors.EnclaveError) == "oyster-key-file"


@pytest.mark.parametrize("name", ["nsm", "oyster"])
def test_attester_that_is_named_and_absent_is_told(places, real, directories, name):
    real(attester=name)
    assert _code({}, directories, kind=errors.EnclaveError) == "attester-absent"


# --- its document is of its format ---


def test_documents_of_oyster_are_looked_at_without_the_signature(
    monkeypatch, oyster_server, real, directories
):
    real(attester=f"oyster:{oyster_server.argument}")
    found = start({}, directories)
    with pytest.raises(errors.EnclaveError) as caught:
        found.look()
    assert caught.value.code == "attester-broken"  # the stand-in's root is not that of AWS
    monkeypatch.setattr(found.attester, "trust_root", oyster_server.root)
    assert found.look().public_key == oyster_server.public_key
    oyster_server.fault(body=b"")
    with pytest.raises(errors.EnclaveError) as caught:
        found.look()
    assert caught.value.code == "oyster-answer"


# --- randomness of the hardware ---


@pytest.fixture
def mixed(monkeypatch):
    """What was mixed into the kernel's randomness."""
    found = []
    monkeypatch.setattr(entropy, "mix", found.append)
    return found


def test_hardwares_randomness_is_mixed_in_at_each_start(monkeypatch, mixed, real, directories):
    given = iter([b"one" * 9, b"two" * 9])
    monkeypatch.setattr(HardwareAttester, "random", lambda _self: next(given))
    for _ in range(2):
        start({}, directories)
    assert mixed == [b"one" * 9, b"two" * 9]


def test_randomness_of_a_simulated_enclave_is_not(mixed, options, directories):
    start(options, directories)
    assert mixed == []


def test_attester_without_randomness_has_none_to_mix_in(mixed, oyster_server, real, directories):
    real(attester=f"oyster:{oyster_server.argument}")
    start({}, directories)
    assert mixed == []


def test_without_the_hardwares_randomness_nothing_goes_on(monkeypatch, real, directories):
    def refused(_self):
        raise errors.EnclaveError("the device does not answer", code="nsm-timeout")

    monkeypatch.setattr(HardwareAttester, "random", refused)
    real(sealer="nonsense:x")  # would be told if a component were made first that makes keys
    assert _code({}, directories, kind=errors.EnclaveError) == "nsm-timeout"


def test_empty_randomness_is_no_randomness(monkeypatch, real, directories):
    monkeypatch.setattr(HardwareAttester, "random", lambda _self: b"")
    assert _code({}, directories, kind=errors.EnclaveError) == "entropy"


# --- the PCR to bind ---


@pytest.mark.parametrize(("named", "index"), [("", None), ("16", 16), ("31", 31)])
def test_pcr_to_bind(options, directories, named, index):
    found = start({**options, "bind_pcr": named}, directories)
    assert found.bound_pcr == index


@pytest.mark.parametrize("named", ["15", "32", "017", "PCR17", " 17"])
def test_pcr_that_cannot_be_bound(options, directories, named):
    assert _code({**options, "bind_pcr": named}, directories) == "setting-invalid"

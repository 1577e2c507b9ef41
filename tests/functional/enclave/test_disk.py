# SPDX-License-Identifier: Apache-2.0
"""A real enclave on a disk is refused, or evidence says so and a policy has to accept it by name.

The attester says of itself that it is real, and the measured settings file lies elsewhere; the rest
is as in the field.
"""

import json
import os
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from certbot_enclave import cli, registry, runtime, statement

COMPONENTS = {
    ("certbot_enclave.attesters", "hardware"): "tests.support.components:HardwareAttester",
    ("certbot_enclave.sealers", "safe"): "tests.support.components:RealSealer",
}


@pytest.fixture
def disk(shm):
    """A directory on a disk: in this checkout."""
    folder = Path(__file__).parent / f"never-kept-{shm.name}"
    folder.mkdir()
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def register(monkeypatch, enclave, disk, shm):
    """``register`` in an enclave that says that it is real, with its directories on the disk."""
    known = registry.entry_points

    def entry_points(*, group, name=None):
        value = COMPONENTS.get((group, name))
        if value is not None:
            return [metadata.EntryPoint(name, value, group)]
        return known(group=group, name=name) if name else known(group=group)

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setattr("tempfile.tempdir", str(shm))
    monkeypatch.setattr(runtime, "MEASURED_FILE", str(enclave.state / "settings.toml"))
    for name in [name for name in os.environ if name not in ("PATH", "HOME")]:
        monkeypatch.delenv(name)
    directories = [f"--{name}-dir={disk / name}" for name in ("config", "work", "logs")]

    def run(**more):
        table = {
            "attester": f"hardware:{enclave.simulator}",
            "sealer": "safe:one",
            "store": f"file:{enclave.bundle}",
            "server": enclave.server,
            "domains": ["example.test"],
            "ca_roots": str(enclave.tls_root),
            "resolver": [enclave.resolver],
            "allow_issuer": ["ca.test"],
            **more,
        }
        lines = [f"{name} = {json.dumps(value)}\n" for name, value in table.items()]
        Path(runtime.MEASURED_FILE).write_text("".join(lines))
        return cli.main(["register", "--agree-tos", *directories])

    return run


def test_disk_is_refused_before_any_key_is_made(register, disk, ca, capsys):
    assert register() == 2
    assert f"{disk / 'config'} is on " in capsys.readouterr().err
    assert (list(disk.rglob("*")), ca.accounts()) == ([], [])


def test_evidence_says_what_the_settings_allow_and_a_policy_accepts_it_by_name(
    register, enclave, disk, owner, capsys
):
    assert register(allow_disk=True) == 0
    evidence = disk / "config" / "enclave" / "evidence.json"
    said = statement.parse(statement.parse_evidence(evidence.read_bytes()).text)
    assert said.settings["allow_disk"] is True
    assert "simulated" not in said.conditions
    policy = owner.policy(enclave.state / "policy.toml", enclave, sealing=("memory",))
    words = ["verify", str(evidence), "--domain=example.test", f"--policy={policy}"]
    words.append(f"--trust-root={enclave.simulator / 'root.pem'}")
    capsys.readouterr()
    assert cli.main([*words, "--json"]) == 1
    refused = json.loads(capsys.readouterr().out)
    assert (refused["code"], "allow_disk" in refused["error"]) == ("setting", True)
    owner.policy(enclave.state / "policy.toml", enclave, "allow_disk = true", sealing=("memory",))
    assert cli.main(words) == 0

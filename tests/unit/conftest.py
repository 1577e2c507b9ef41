# SPDX-License-Identifier: Apache-2.0
"""A simulated enclave on this machine, or a machine that is an enclave with a measured file."""

import json
from importlib import metadata

import pytest

from certbot_enclave import registry, runtime
from certbot_enclave.attestation import simulated
from certbot_enclave.runtime import Directories

REAL = {
    "attester": "hardware:{simulator}",
    "sealer": "safe:one",
    "store": "file:/nonexistent/bundle",
    "server": "https://ca.test/directory",
    "domains": ["example.test"],
}


@pytest.fixture
def simulator(tmp_path):
    image = tmp_path / "app.bin"
    image.write_bytes(b"code")
    simulated.create(tmp_path / "enclave", [image])
    return tmp_path / "enclave"


@pytest.fixture
def directories(shm):
    return Directories(shm / "config", shm / "work", shm / "logs")


@pytest.fixture
def options(simulator):
    """What names a simulated enclave."""
    return {
        "attester": f"simulated:{simulator}",
        "sealer": f"simulated:{simulator}",
        "store": "file:/nonexistent/bundle",
    }


@pytest.fixture
def real(monkeypatch, tmp_path, simulator, shm):
    """The machine is an enclave with this measured file; gives the function that writes it."""
    known = registry.entry_points

    def entry_points(*, group, name=None):
        ours = {
            ("certbot_enclave.attesters", "hardware"): "tests.support.components:HardwareAttester",
            ("certbot_enclave.sealers", "safe"): "tests.support.components:RealSealer",
        }
        value = ours.get((group, name))
        if value is not None:
            return [metadata.EntryPoint(name, value, group)]
        return known(group=group, name=name) if name else known(group=group)

    monkeypatch.setattr(registry, "entry_points", entry_points)
    monkeypatch.setattr("tempfile.tempdir", str(shm))
    path = tmp_path / "settings.toml"
    monkeypatch.setattr(runtime, "MEASURED_FILE", str(path))

    def write(**changes):
        table = {**REAL, **changes}
        lines = [f"{name} = {json.dumps(value)}" for name, value in table.items()]
        path.write_text("\n".join(lines).replace("{simulator}", str(simulator)) + "\n")

    write()
    return write

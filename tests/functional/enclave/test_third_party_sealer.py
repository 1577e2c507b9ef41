# SPDX-License-Identifier: Apache-2.0
"""A sealer that somebody else brings: installed by pip, named in the settings, used by commands."""

import json
import shutil
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.support.world import enclave as enclave_module

EXAMPLE = Path(__file__).parents[3] / "examples" / "sealer"
SCRIPT = "#!{python}\nimport sys\nfrom {module} import main\nsys.exit(main())\n"
PROGRAMS = {"certbot": "certbot.main", "certbot-enclave": "certbot_enclave.cli"}


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """An environment with the example beside all that is here, and nothing fetched for it."""
    folder = tmp_path_factory.mktemp("image")
    made = venv.EnvBuilder(with_pip=False)
    made.create(folder)
    places = made.ensure_directories(folder)
    python = places.env_exe
    (own,) = Path(folder, "lib").glob("python*/site-packages")
    lines = [f"import site; site.addsitedir({path!r})\n" for path in site.getsitepackages()]
    (own / "beside.pth").write_text("".join(lines))
    shutil.copytree(EXAMPLE, folder / "example")  # building leaves its traces there
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    apart = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([*pip, *apart, "--root-user-action=ignore", folder / "example"], check=True)
    for name, module in PROGRAMS.items():
        script = Path(places.bin_path, name)
        script.write_text(SCRIPT.format(python=python, module=module))
        script.chmod(0o755)
    return Path(places.bin_path)


@pytest.fixture
def key_file(shm):
    path = shm / "key"
    path.write_bytes(b"k" * 32)
    return path


@pytest.fixture
def enclave(monkeypatch, image, enclave, key_file):
    """An enclave whose image has the example, and whose settings name it."""
    monkeypatch.setattr(enclave_module, "BIN", image)
    enclave.extra["sealer"] = f"keyfile:{key_file}"
    return enclave


def test_state_survives_a_restart_by_it(enclave, ca, registered, owner):
    enclave.issue().ok()
    certificate = enclave.certificate()
    assert b'"sealer":"keyfile"' in enclave.bundle.read_bytes()
    enclave.reboot()
    table = json.loads(enclave.restore().ok().out)
    assert table["accounts"] == [registered["account"]]
    assert enclave.certificate() == certificate
    enclave.renew().ok()
    assert (enclave.certificate() != certificate, len(ca.accounts())) == (True, 1)


def test_statement_names_it_and_policies_decide_by_that(enclave, ca, registered, owner):
    said = enclave.said()
    assert (said.sealing_scheme, len(said.sealing_key)) == ("keyfile", 16)
    assert "simulated" in said.conditions
    policy = owner.policy(enclave.state / "policy.toml", enclave)
    words = [str(enclave.evidence), "--domain=example.test", f"--policy={policy}", "--json"]
    words.append(f"--trust-root={enclave.simulator / 'root.pem'}")
    text = policy.read_text()
    for accepted, code in [('"awskms"', "sealing"), ('"keyfile"', "")]:
        policy.write_text(text.replace("[accept]\n", f"[accept]\nsealing = [{accepted}]\n"))
        done = enclave.run("certbot-enclave", "verify", *words)
        assert (done.code, json.loads(done.out).get("code", "")) == (1 if code else 0, code)


def test_bundle_of_another_measurement_is_not_opened_although_the_key_is_there(
    enclave, ca, registered
):
    other = enclave.sibling("changed", b"another image\n", shared=("root.key", "root.pem"))
    other.extra["sealer"] = enclave.extra["sealer"]
    shutil.copy(enclave.bundle, other.bundle)
    done = other.restore()
    assert (done.code, json.loads(done.out)["code"]) == (1, "bundle-foreign")
    assert not (other.config / "accounts").exists()


def test_other_key_opens_nothing(enclave, ca, registered, key_file):
    enclave.reboot()
    key_file.write_bytes(b"o" * 32)
    done = enclave.restore()
    assert (done.code, json.loads(done.out)["code"]) == (1, "sealer-mismatch")
    key_file.unlink()
    done = enclave.restore()
    assert (done.code, json.loads(done.out)["code"]) == (3, "keyfile-missing")
    assert not (enclave.config / "accounts").exists()


def test_image_without_it_says_what_is_installed(monkeypatch, enclave, ca):
    monkeypatch.setattr(enclave_module, "BIN", Path(sys.executable).parent)
    done = enclave.restore()
    assert (done.code, json.loads(done.out)["code"]) == (2, "sealer-unknown")
    assert "installed: " in done.err

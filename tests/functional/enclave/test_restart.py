# SPDX-License-Identifier: Apache-2.0
"""After a restart everything is back from the bundle, and the CA hears nothing of it."""

import json
import shutil

import pytest

from tests.support.world.enclave import Enclave


def _tree(enclave):
    """What certbot has of its certificate: modes, links, content."""
    found = {}
    for folder in ("archive", "live", "renewal", "accounts"):
        for path in sorted((enclave.config / folder).rglob("*")):
            name = path.relative_to(enclave.config).as_posix()
            data = path.readlink().as_posix() if path.is_symlink() else None
            data = path.read_bytes() if data is None and path.is_file() else data
            found[name] = (path.lstat().st_mode, data)
    return found


def _restore(enclave: Enclave, *more: str):
    return enclave.run(
        "certbot-enclave", "restore", *enclave.directories, *enclave.settings("--"), *more
    )


@pytest.fixture
def deployed(enclave, registered, shm):
    enclave.extra["deploy"] = f"files:{shm / 'tls'}"
    (shm / "tls").mkdir()
    enclave.issue("--installer=enclave", verb="run").ok()
    return shm / "tls"


def _asked(ca):
    return [ca.count("requests", name) for name in ("newAccount", "newOrder", "finalize")]


def test_restored_certificate_is_deployed_and_not_issued_again(enclave, ca, registered, deployed):
    before, asked = _tree(enclave), _asked(ca)
    certificate = enclave.certificate()
    total = ca.counts()["requests"]
    enclave.reboot()
    shutil.rmtree(deployed)
    deployed.mkdir()
    table = json.loads(_restore(enclave, "--json").ok().out)
    assert _tree(enclave) == before
    assert table["accounts"] == [registered["account"]]
    assert [item["names"] for item in table["certificates"]] == [["example.test"]]
    assert (deployed / "example.test" / "fullchain.pem").read_bytes().startswith(certificate)
    assert ca.counts()["requests"] == total, "the CA was asked"
    done = enclave.certbot("renew", names=False, server=False).ok()
    assert "not yet due" in done.out.lower()
    assert (_asked(ca), enclave.certificate()) == (asked, certificate)
    # And when it is due, the same account renews it.
    enclave.renew().ok()
    assert enclave.certificate() != certificate
    assert len(ca.accounts()) == 1
    assert enclave.said().account_uri == registered["account"]


def test_first_command_of_a_script_restores_too(enclave, ca, registered, deployed):
    asked, certificate = _asked(ca), enclave.certificate()
    enclave.reboot()
    assert enclave.registered()["account"] == registered["account"]
    done = enclave.issue("--installer=enclave", "--keep-until-expiring", verb="run").ok()
    assert enclave.certificate() == certificate
    assert _asked(ca)[1:] == asked[1:], done.out
    assert len(ca.accounts()) == 1


def test_nothing_stored_is_an_error_of_its_own(enclave):
    done = _restore(enclave)
    assert (done.code, "holds no bundle" in done.err) == (1, True)
    assert not (enclave.config / "accounts").exists()


def test_each_way_to_fail_says_so(enclave, issued):
    data = enclave.bundle.read_bytes()
    for changed, words in [
        (data[:100], "cut short"),
        (data[:-1] + bytes([data[-1] ^ 1]), "COSE signature"),
        (data.replace(b"sealed-v1", b"sealed-v2"), "attestation of the bundle"),
    ]:
        enclave.reboot()
        enclave.bundle.write_bytes(changed)
        done = _restore(enclave)
        assert (done.code, words in done.err) == (1, True), done.err
        assert not (enclave.config / "accounts").exists()
    enclave.bundle.unlink()
    enclave.bundle.parent.rename(enclave.bundle.parent.with_name("away"))
    done = _restore(enclave)
    assert (done.code, "cannot be used" in done.err) == (3, True), done.err

# SPDX-License-Identifier: Apache-2.0
"""After a restart everything is back, and the CA hears of it when a certificate is due."""

import json
import shutil
import time

import pytest

from tests.support.world import derive

ONE_LOCALSTACK = pytest.mark.xdist_group("localstack")
CONTRACT = derive.contract_seed(42161, "0x" + "ab" * 20)
LATER = 61 * 86400  # seconds; certificates have 90 days, and are renewed in the last third
# Fixture that sets it up.
SEALERS = {
    "simulated": "",
    "oysterkms of an image": "derive_server",
    "oysterkms of a contract": "contract",
    "awskms": "kms_front",
    "awskms on LocalStack": "localstack_key",
}
STORES = {"file": "", "S3": "localstack_bucket"}
CELLS = [
    pytest.param(
        (sealer, store),
        id=f"{name}, {place}",
        marks=[ONE_LOCALSTACK] if "localstack" in sealer + store else [],
    )
    for name, sealer in SEALERS.items()
    for place, store in STORES.items()
]


@pytest.fixture
def contract(enclave, derive_server):
    """The derive server with the seed of a contract; the account key is derived as well."""
    derive_server.seed = CONTRACT
    enclave.extra["account-key"] = "derived"


@pytest.fixture
def sealed(request, enclave):
    """An enclave with one sealer and one store; they are ``request.param``."""
    for name in filter(None, request.param):
        request.getfixturevalue(name)
    return enclave


def _deployed(enclave, shm):
    """Have certificates handed to a TLS server; where."""
    (shm / "tls").mkdir()
    enclave.extra["deploy"] = f"files:{shm / 'tls'}"
    return shm / "tls"


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


def _asked(ca):
    return [ca.count("requests", name) for name in ("newAccount", "newOrder", "finalize")]


def _restored(enclave, account):
    """Restore, and return the generation."""
    table = json.loads(enclave.restore().ok().out)
    assert table["accounts"] == [account]
    assert [item["names"] for item in table["certificates"]] == [["example.test"]]
    return table["generation"]


@pytest.mark.parametrize("sealed", CELLS, indirect=True)
def test_everything_comes_back_and_is_renewed_when_due(request, sealed, ca, owner, shm):
    tls = _deployed(sealed, shm)
    first = sealed.registered()
    owner.publish(first["records"])
    sealed.issue("--installer=enclave", verb="run").ok()
    before, certificate, asked = _tree(sealed), sealed.certificate(), _asked(ca)
    total = ca.counts()["requests"]
    sealed.reboot()
    shutil.rmtree(tls)
    tls.mkdir()
    generation = _restored(sealed, first["account"])
    assert _tree(sealed) == before
    assert (tls / "example.test" / "fullchain.pem").read_bytes().startswith(certificate)
    assert ca.counts()["requests"] == total, "the CA was asked"
    done = sealed.certbot("renew", names=False, server=False).ok()
    assert "not yet due" in done.out.lower()
    assert (_asked(ca), sealed.certificate()) == (asked, certificate)

    sealed = sealed.later(LATER)
    if "kms_front" in request.fixturenames:
        request.getfixturevalue("kms_front").clock = lambda: time.time() + LATER
    sealed.certbot("renew", names=False, server=False).ok()
    renewed, said = sealed.certificate(), sealed.said()
    assert renewed != certificate
    assert (tls / "example.test" / "fullchain.pem").read_bytes().startswith(renewed)
    assert (said.account_uri, said.restored_from) == (first["account"], generation)
    assert said.sealing_scheme == sealed.extra.get("sealer", "simulated").partition(":")[0]
    stated = {name.replace("-", "_"): value for name, value in sealed.extra.items()}
    assert {name: said.settings[name] for name in stated} == stated
    sealed.reboot()
    assert _restored(sealed, first["account"]) > generation
    assert sealed.certificate() == renewed
    assert [account["uri"] for account in ca.accounts()] == [first["account"]]
    assert ca.count("events", "accounts_created") == 1
    assert _asked(ca)[1:] == [2, 2]
    in_file = sealed.extra.get("store") is None
    assert sealed.bundle.exists() == in_file


@pytest.mark.parametrize("mode", ["image", "contract"])
def test_without_any_store_the_account_is_the_same(enclave, ca, owner, derive_server, mode):
    if mode == "contract":
        derive_server.seed = CONTRACT
    enclave.extra |= {"account-key": "derived", "store": "none:"}
    first = enclave.registered()
    owner.publish(first["records"])
    enclave.issue().ok()
    enclave.reboot()
    assert not enclave.config.exists()
    # No agreement to the terms: nothing is made.
    again = json.loads(enclave.register("--json", agree=False).ok().out)
    assert (again["account"], again["new"]) == (first["account"], False)
    enclave.reboot()
    # certbot alone finds it too, and the records that the owner published once still fit.
    enclave.issue().ok()
    enclave = enclave.later(LATER)
    certificate = enclave.certificate()
    enclave.certbot("renew", names=False, server=False).ok()
    assert enclave.certificate() != certificate
    assert [account["uri"] for account in ca.accounts()] == [first["account"]]
    assert ca.count("events", "accounts_created") == 1
    assert not enclave.bundle.exists()
    said = enclave.said()
    assert (said.account_uri, said.sealing_scheme) == (first["account"], "oysterkms")
    assert said.sealing_key == derive_server.address
    assert (said.settings["account_key"], said.settings["store"]) == ("derived", "none:")
    assert said.restored_from == 0


def test_first_command_of_a_script_restores_too(enclave, ca, registered, shm):
    _deployed(enclave, shm)
    enclave.issue("--installer=enclave", verb="run").ok()
    asked, certificate = _asked(ca), enclave.certificate()
    enclave.reboot()
    assert enclave.registered()["account"] == registered["account"]
    done = enclave.issue("--installer=enclave", "--keep-until-expiring", verb="run").ok()
    assert enclave.certificate() == certificate
    assert _asked(ca)[1:] == asked[1:], done.out
    assert len(ca.accounts()) == 1

# SPDX-License-Identifier: Apache-2.0
"""A store that lies costs what its host could destroy anyway: never a second account unnoticed."""

import json
import shutil

import pytest

from certbot_enclave import errors
from certbot_enclave.attestation import simulated
from certbot_enclave.attestation.simulated import SimulatedAttester
from certbot_enclave.aws.credentials import Chain
from certbot_enclave.sealing import tree
from certbot_enclave.sealing.simulated import SimulatedSealer
from certbot_enclave.sealing.state import State
from certbot_enclave.sealing.stores.s3 import S3Store
from tests.support.world.s3 import S3

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "identity", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture
def s3(enclave):
    """A store that can lie; it is the enclave's."""
    with S3() as started:
        enclave.extra["store"] = started.place
        enclave.environment |= CREDENTIALS
        yield started


def _generation(enclave):
    return json.loads(enclave.restore().ok().out)["generation"]


def _code(done):
    assert (done.code, "Traceback" in done.text) == (1, False), done.text
    return json.loads(done.out)["code"]


def test_old_body_under_the_new_etag_is_a_rollback_that_is_shown(enclave, ca, s3, registered):
    uri, older = registered["account"], s3.newest
    enclave.issue().ok()
    before = enclave.said().generation
    s3.shows = older
    enclave.reboot()
    assert 0 < _generation(enclave) < before
    # Its condition is met, so this replaces a bundle that the enclave never saw.
    enclave.issue().ok()
    assert enclave.said().account_uri == uri
    assert enclave.said().restored_from < before
    s3.shows = None
    enclave.reboot()
    enclave.restore().ok()
    assert enclave.registered()["account"] == uri
    assert [account["uri"] for account in ca.accounts()] == [uri]


def test_write_that_is_acknowledged_and_dropped_is_noticed_by_the_next(enclave, ca, s3, registered):
    enclave.issue().ok()
    kept, certificate = s3.newest, enclave.certificate()
    s3.drops = 1
    done = enclave.renew()  # what is sealed before the order is dropped, and then the certificate
    assert (done.code, "holds another bundle than" in done.text) == (1, True), done.text
    renewed = enclave.certificate()
    assert (renewed != certificate, s3.newest == kept) == (True, True)
    enclave.extra["wait-for-caa"] = "1s"
    assert _code(enclave.register("--json")) == "store-conflict"
    assert enclave.certificate() == renewed  # it stays in use
    # After a restart it is as after a rollback, and goes on from there.
    enclave.reboot()
    enclave.restore().ok()
    assert enclave.certificate() == certificate
    enclave.renew().ok()
    assert enclave.certificate() not in (certificate, renewed)
    assert [account["uri"] for account in ca.accounts()] == [registered["account"]]


def test_last_write_that_is_dropped_is_a_rollback_that_is_shown(enclave, ca, s3, registered):
    enclave.issue().ok()
    older, before = s3.newest, enclave.said().generation
    enclave.extra["wait-for-caa"] = "1s"
    s3.drops = 1
    enclave.register("--json").ok()  # nothing tells it
    assert (s3.drops, s3.newest == older) == (0, True)
    assert enclave.said().generation > before
    enclave.reboot()
    assert _generation(enclave) == before
    assert enclave.registered()["account"] == registered["account"]
    assert enclave.said().restored_from == before
    assert len(ca.accounts()) == 1


def test_first_write_that_is_dropped_is_noticed_before_the_ca_hears_of_the_key(enclave, ca, s3):
    """The key is sealed, and then that it will be registered."""
    s3.drops = 1
    assert _code(enclave.register("--json")) == "store-conflict"
    assert ca.accounts() == []
    enclave.reboot()
    assert _code(enclave.restore()) == "bundle-missing"
    enclave.registered()
    assert len(ca.accounts()) == 1


def test_file_that_vanishes_after_each_write_is_noticed_by_the_next(enclave, ca, registered):
    enclave.issue().ok()
    enclave.bundle.unlink()
    enclave.extra["wait-for-caa"] = "1s"
    assert _code(enclave.register("--json")) == "store-conflict"
    enclave.reboot()
    assert _code(enclave.restore()) == "bundle-missing"
    done = enclave.register("--json", f"--account={registered['account']}")
    assert _code(done) == "account-lost"
    assert len(ca.accounts()) == 1


def test_file_that_goes_back_after_a_write_is_noticed_by_the_next(enclave, ca, registered):
    older = enclave.bundle.read_bytes()
    enclave.issue().ok()
    enclave.bundle.write_bytes(older)
    enclave.extra["wait-for-caa"] = "1s"
    assert _code(enclave.register("--json")) == "store-conflict"
    assert enclave.bundle.read_bytes() == older


class Replicas:
    """Two replicas, each with RAM of its own at the same path, one after the other."""

    def __init__(self, folder, store):
        self._folder, self._config = folder, folder / "config"
        image = folder / "app.bin"
        image.write_bytes(b"code")
        self._simulator = folder / "enclave"
        simulated.create(self._simulator, [image])
        self._own = {index: bytes(48) for index in range(16)} | simulated.measure(self._simulator)
        self._store = store

    def _state(self):
        where = str(self._simulator)
        store = S3Store(
            self._store.place.removeprefix("s3:"),
            Chain(CREDENTIALS, lambda: 0.0),
            sleep=lambda seconds: None,
        )
        sealer, attester = SimulatedSealer(where), SimulatedAttester(where)
        return State(self._config, store=store, sealer=sealer, attester=attester)

    def boots(self, name):
        """Begin with what the store has."""
        shutil.rmtree(self._config, ignore_errors=True)
        mark = self._state().restore(self._own)
        self.sleeps(name)
        return mark

    def sleeps(self, name):
        """Keep its RAM aside."""
        shutil.copytree(self._config, self._folder / name, dirs_exist_ok=True)

    def saves(self, name, text):
        """Come back to its RAM, change something, and seal it."""
        shutil.rmtree(self._config)
        shutil.copytree(self._folder / name, self._config)
        file = tree.File("accounts/ca/1/private_key.json", 0o600, text)
        tree.restore(self._config, [file])
        mark = self._state().save(["https://ca.test/account/1"], b"key")
        self.sleeps(name)
        return mark

    def key(self):
        """What a boot now finds."""
        self.boots("reader")
        return (self._config / "accounts/ca/1/private_key.json").read_bytes()


@pytest.mark.parametrize("same", [False, True], ids=["honest", "one ETag for everything"])
def test_one_etag_for_everything_loses_a_replicas_work_as_a_rollback_does(shm, same):
    with S3() as store:
        replicas = Replicas(shm, store)
        first = replicas.boots("one")
        replicas.saves("one", b"by one")
        store.same = same
        replicas.boots("one")
        replicas.boots("two")
        assert replicas.saves("one", b"newer, by one").generation == 2
        if not same:
            with pytest.raises(errors.SealError) as caught:
                replicas.saves("two", b"newer, by two")
            assert caught.value.code == "store-conflict"
            assert replicas.key() == b"newer, by one"
            return
        # Both believe that they wrote: one of the two is gone, and what is left is genuine.
        assert replicas.saves("two", b"newer, by two").generation == 2
        assert replicas.key() == b"newer, by two"
        assert replicas.boots("one").bundle_id == first.bundle_id

# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave run``: restore, certbot in a clean environment, seal; whatever happens."""

import json
import os
import signal

import pytest

from tests.support.world.process import eventually
from tests.support.world.replica import replica

SECONDS = 60


def _orders(ca):
    return [ca.count("requests", name) for name in ("newAccount", "newOrder", "finalize")]


def _generation(enclave):
    return json.loads(enclave.ours("seal", "--json").ok().out)["generation"]


@pytest.fixture
def deployed(enclave, registered):
    """An enclave that got its certificate by ``run``, and where its TLS server finds it."""
    enclave.extra["deploy"] = f"files:{enclave.state / 'tls'}"
    enclave.let("certonly").ok()
    return enclave.state / "tls" / "example.test" / "fullchain.pem"


def test_it_restores_renews_and_seals(enclave, ca, registered, deployed):
    first = enclave.certificate()
    assert deployed.read_bytes().startswith(first)
    asked = _orders(ca)
    enclave.reboot()
    deployed.unlink()
    done = enclave.let("renew").ok()
    assert "not yet due" in done.out.lower()
    assert (_orders(ca), enclave.certificate()) == (asked, first)
    assert deployed.read_bytes().startswith(first)
    enclave.let("renew", "--force-renewal").ok()
    second = enclave.certificate()
    assert second != first
    assert deployed.read_bytes().startswith(second)
    enclave.reboot()
    enclave.ours("restore").ok()
    assert enclave.certificate() == second
    assert [known["uri"] for known in ca.accounts()] == [registered["account"]]


def test_nothing_is_sealed_twice(enclave, registered, deployed):
    generation, data = _generation(enclave), enclave.bundle.read_bytes()
    enclave.let("renew").ok()
    assert (_generation(enclave), enclave.bundle.read_bytes()) == (generation, data)
    enclave.let("renew", "--force-renewal").ok()
    assert _generation(enclave) == generation + 2  # the order, and what came of it


def test_nothing_stored_is_no_reason_for_another_account(enclave, ca, owner):
    done = enclave.let("certonly", "--agree-tos", "--register-unsafely-without-email")
    assert (done.code, done.out) == (1, "")
    assert "certbot-enclave: error: the store holds no bundle" in done.err
    assert ca.counts()["requests"] == {}
    assert not (enclave.config / "accounts").exists()


@pytest.mark.parametrize("option", ["--server=https://other.test/directory", "--staging"])
def test_renew_never_moves_to_another_ca(enclave, ca, registered, deployed, option):
    asked, kept = ca.counts()["requests"], enclave.bundle.read_bytes()
    done = enclave.let("renew", option)
    assert (done.code, done.out) == (2, "")
    assert "moves every certificate to another CA" in done.err
    assert (ca.counts()["requests"], enclave.bundle.read_bytes()) == (asked, kept)


def test_store_out_of_reach_orders_nothing(enclave, ca, registered, deployed):
    asked = ca.counts()["requests"]
    enclave.bundle.parent.rename(enclave.bundle.parent.with_name("away"))
    done = enclave.let("renew", "--force-renewal")
    assert (done.code, "cannot be used" in done.err) == (3, True), done.text
    assert ca.counts()["requests"] == asked


def test_failure_of_certbot_is_said_once(enclave, ca, owner, registered):
    owner.withdraw()
    done = enclave.let("certonly")
    assert done.code == 1
    assert done.text.count("the gate is closed") == 1
    assert "certbot-enclave: error: certbot ended with exit code 1" in done.err
    assert ca.count("requests", "newOrder") == 0


def test_environment_of_the_host_does_not_get_in(enclave, registered, shm):
    hook = f"env > {shm / 'seen'}"
    enclave.extra["hooks"] = hook
    enclave.environment |= {"HOME": "/nonexistent", "SHAPED_BY_HOST": "1", "HTTPS_PROXY": ""}
    enclave.environment |= {"CERTBOT_SNAPPED": "True", "REQUESTS_CA_BUNDLE": str(enclave.tls_root)}
    enclave.let("certonly", f"--pre-hook={hook}").ok()
    seen = dict(line.split("=", 1) for line in (shm / "seen").read_text().splitlines())
    ours = {"CERTBOT_ENCLAVE_TOLD", "PATH", "HOME", "TMPDIR", "HTTPS_PROXY", "REQUESTS_CA_BUNDLE"}
    assert seen.keys() - {"PWD", "SHLVL", "_", "LC_CTYPE"} == ours
    assert seen["REQUESTS_CA_BUNDLE"] == str(enclave.tls_root)


def _alive(enclave):
    """Return the processes that work in this enclave's directories."""
    found = []
    for path in os.listdir("/proc"):
        try:
            with open(f"/proc/{path}/cmdline", "rb") as file:
                if os.fsencode(enclave.state) in file.read():
                    found.append(path)
        except OSError:
            continue
    return found


def test_time_is_limited_and_the_state_is_sealed(enclave, ca, registered):
    ca.stall("newOrder", "before")
    done = enclave.let("certonly", own=("--timeout=4s",))
    assert done.code == 3, done.text
    assert "certbot was not done within 4 seconds and was ended" in done.err
    assert eventually(lambda: _alive(enclave) == [])
    ca.release()
    ca.clear()
    assert "no, the store has it all" in enclave.ours("seal").ok().out
    enclave.let("certonly").ok()
    assert len(ca.accounts()) == 1


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_certbot(enclave, ca, registered, end):
    ca.stall("newOrder", "before")
    with enclave.start("certbot-enclave", *enclave.letting("certonly")) as process:
        ca.wait_stalled(SECONDS)
        process.send_signal(end)
        said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 128 + end, said
    assert "certbot-enclave: error: interrupted" in said
    assert eventually(lambda: _alive(enclave) == [])
    ca.release()
    ca.clear()
    enclave.let("certonly").ok()


def test_revoked_certificate_leaves_the_bundle(enclave, ca, registered, deployed):
    key = enclave.config / "live" / "example.test" / "privkey.pem"
    enclave.let("revoke", "--cert-name=example.test", f"--key-path={key}").ok()
    enclave.reboot()
    assert json.loads(enclave.ours("restore", "--json").ok().out)["certificates"] == []


def test_lost_race_for_the_store_loses_nothing(enclave, ca, registered, deployed):
    """While this enclave's order is under way, another one seals; then they agree again."""
    other = replica(enclave, "other")
    other.ours("restore").ok()
    ca.stall("finalize", "after")
    with enclave.start("certbot-enclave", *enclave.letting("renew", "--force-renewal")) as process:
        ca.wait_stalled(SECONDS)
        other.let("delete", "--cert-name=example.test").ok()  # anything that is sealed
        ca.release()
        said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 1, said
    assert said.count("holds another bundle than generation") == 1
    assert "certbot-enclave follow --once" in said
    assert "hint: what certbot got is not sealed" in said
    mine = enclave.certificate()
    assert deployed.read_bytes().startswith(mine)
    done = enclave.ours("follow", "--once", "--json").ok()
    assert enclave.certificate() == mine
    other.ours("follow", "--once").ok()
    assert other.certificate() == mine
    assert json.loads(done.out)["generation"] == _generation(enclave) == _generation(other)
    assert len(ca.accounts()) == 1


def test_two_at_once_wait_for_each_other(enclave, ca, registered, deployed):
    ca.stall("newOrder", "before")
    words = enclave.letting("renew", "--force-renewal")
    with enclave.start("certbot-enclave", *words) as one:
        ca.wait_stalled(SECONDS)
        with enclave.start("certbot-enclave", *enclave.letting("certificates")) as two:
            assert not eventually(lambda: two.poll() is not None, 3)
            ca.release()
            one.communicate(timeout=SECONDS)
            said, _ = two.communicate(timeout=SECONDS)
    assert (one.returncode, two.returncode) == (0, 0), said
    assert "Certificate Name: example.test" in said


def test_failed_deployment_does_not_stop_certbot(enclave, registered, deployed):
    enclave.reboot()
    deployed.unlink()
    done = enclave.let("renew", own=("--deploy-check=/bin/false",))
    assert (done.code, done.err.count("deploy check failed")) == (1, 1), done.text
    assert "not yet due" in done.out.lower()
    enclave.let("renew").ok()
    assert deployed.read_bytes().startswith(enclave.certificate())

# SPDX-License-Identifier: Apache-2.0
"""A crash loop, a broken validation and a second replica are stopped before the CA does it."""

import os
import re
import signal

import pytest

from certbot_enclave.thrift import book, ledger
from tests.support.world.process import free_port
from tests.support.world.replica import replica

LEASE = ledger.LEASE.total_seconds()
ALLOWED_AT = re.compile(r"is allowed at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ")


def _killed(enclave, ca, words, resource="newOrder", phase="after", passing=0):
    """Kill certbot while the CA holds a request."""
    ca.stall(resource, phase, times=passing + 1)
    with enclave.start("certbot", *words) as run:
        for _ in range(passing):
            ca.wait_stalled(60)
            ca.release()
        ca.wait_stalled(60)
        os.killpg(run.pid, signal.SIGKILL)
        run.communicate()
    ca.release()
    ca.clear()


def _orders(ca):
    return ca.count("requests", "newOrder")


def _outcomes(enclave):
    entries = book.recall(enclave.config)
    return [item.outcome for item in entries if item.kind == ledger.ORDER]


def _restore(enclave):
    return enclave.ours("restore")


def _take(replica):
    return replica.ours("follow", "--once")


@pytest.fixture
def words(enclave, registered):
    return enclave.words("certonly", "--authenticator=enclave", "--force-renewal")


def test_crash_loop_asks_four_times_and_says_until_when(enclave, ca, words):
    for _ in range(4):
        _killed(enclave, ca, words)
    done = enclave.run("certbot", *words)
    assert done.code == 1
    assert "4 certificates for exactly example.test in 7 days is all" in done.text
    assert ALLOWED_AT.search(done.text)
    assert _orders(ca) == 4
    assert _outcomes(enclave) == ["lost"] * 3 + ["open"]
    # A person may go on, for one run; and what certbot keeps of it counts for nothing.
    enclave.run("certbot", *words, "--enclave-budget=none").ok()
    assert _orders(ca) == 5
    enclave.run("certbot", *words, "--enclave-budget=none").ok()
    conf = (enclave.config / "renewal" / "example.test.conf").read_text()
    assert "enclave_budget = none" in conf


def test_what_a_person_said_for_one_run_does_not_last(enclave, issued, ca, words):
    for _ in range(3):
        enclave.run("certbot", *words).ok()
    certificate, asked = enclave.certificate(), _orders(ca)
    conf = enclave.config / "renewal" / "example.test.conf"
    conf.write_text(
        conf.read_text().replace("[renewalparams]", "[renewalparams]\nenclave_budget = none")
    )
    done = enclave.renew()
    assert (done.code, "is all that is asked here" in done.text) == (1, True), done.text
    assert (enclave.certificate(), _orders(ca)) == (certificate, asked)


def test_crash_loop_that_loses_its_ram_each_time(enclave, ca, words):
    for number in range(4):
        now = enclave.later(number * (LEASE + 60))
        _killed(now, ca, words)
        enclave.reboot()
        done = now.run("certbot", *words)
        assert (done.code, "another enclave is ordering" in done.text) == (1, True), done.text
        assert _orders(ca) == number + 1
    done = enclave.later(4 * (LEASE + 60)).run("certbot", *words)
    assert (done.code, bool(ALLOWED_AT.search(done.text))) == (1, True), done.text
    assert _orders(ca) == 4
    assert len(ca.accounts()) == 1


def test_failed_validations_are_counted(enclave, ca, owner, registered):
    port, enclave.http_port = enclave.http_port, free_port()
    for _ in range(4):
        assert enclave.issue().code == 1
    done = enclave.issue()
    assert (done.code, "4 failed validations of example.test in 1 hours" in done.text) == (1, True)
    assert _orders(ca) == 4
    assert _outcomes(enclave) == ["failed"] * 4
    enclave.reboot()
    enclave.http_port = port
    assert "4 failed validations" in enclave.issue().text
    assert _orders(ca) == 4
    enclave.later(3700).issue().ok()
    assert _outcomes(enclave) == ["failed"] * 4 + ["issued"]


def test_failure_among_several_certificates_is_one(enclave, ca, registered):
    for name in ("one", "two"):
        enclave.issue(f"--cert-name={name}", "--duplicate").ok()
    ca.fault("finalize", status=403, type="caa")
    assert enclave.renew().code == 1
    assert _outcomes(enclave) == ["issued", "issued", "lost", "issued"]
    enclave.http_port = free_port()
    assert enclave.renew("--enclave-budget=none").code == 1
    assert _outcomes(enclave)[4:] == ["failed", "failed"]


def test_order_that_the_ca_refuses_is_no_failed_validation(enclave, ca, registered):
    ca.fault("newOrder", status=429, type="rateLimited")
    assert enclave.issue().code == 1
    assert _outcomes(enclave) == ["void"]
    ca.fault("finalize", status=403, type="caa")
    assert enclave.issue().code == 1
    assert _outcomes(enclave) == ["void", "lost"]


def test_refused_nonce_is_one_order(enclave, ca, registered):
    ca.fault("newOrder", status=400, type="badNonce")
    enclave.issue().ok()
    assert _outcomes(enclave) == ["issued"]


def test_new_accounts_are_counted(enclave, ca):
    ca.fault("newAccount", times=100, status=500)
    # Each try asks first whether the CA knows the key; nothing is registered while it does not say.
    assert enclave.register().code == 1
    assert book.recall(enclave.config) == ()
    ca.clear()
    for _ in range(9):
        ca.stall("newAccount", times=2)
        with enclave.start(
            "certbot-enclave",
            "register",
            "--agree-tos",
            f"--server={enclave.server}",
            "--domains=example.test",
            *enclave.directories,
            *enclave.settings("--"),
        ) as run:
            ca.wait_stalled(60)
            ca.release()
            ca.wait_stalled(60)
            os.killpg(run.pid, signal.SIGKILL)
            run.communicate()
        ca.release()
        ca.clear()
    done = enclave.register()
    assert (done.code, "9 new accounts in 3 hours is all" in done.err) == (1, True), done.err
    assert ca.accounts() == []
    enclave.later(3 * 3600 + LEASE).register().ok()


def test_store_that_is_down_costs_no_budget_and_no_order(enclave, ca, words):
    away = enclave.bundle.parent.with_name("away")
    enclave.bundle.parent.rename(away)
    for _ in range(5):
        done = enclave.run("certbot", *words)
        assert (done.code, "cannot be used" in done.text) == (1, True), done.text
    assert (_orders(ca), _outcomes(enclave)) == (0, [])
    away.rename(enclave.bundle.parent)
    enclave.run("certbot", *words).ok()


def test_trial_leaves_no_trace(enclave, ca, issued):
    before = (enclave.bundle.read_bytes(), (enclave.config / ledger.PATH).read_bytes())
    enclave.issue("--dry-run").ok()
    after = (enclave.bundle.read_bytes(), (enclave.config / ledger.PATH).read_bytes())
    assert after == before
    assert _orders(ca) > 1


def test_kill_loses_at_most_the_order_that_was_under_way(enclave, ca, shm, registered):
    for name in ("one", "two"):
        enclave.issue(f"--cert-name={name}", "--duplicate").ok()
    held = {name: enclave.certificate(name) for name in ("one", "two")}
    words = enclave.words("renew", "--force-renewal", "--no-random-sleep-on-renew")
    words = [word for word in words if not word.startswith(("--domain=", "--server="))]
    _killed(enclave, ca, words, passing=1)
    renewed = enclave.certificate("one")
    assert renewed != held["one"]
    enclave.reboot()
    _restore(enclave).ok()
    assert enclave.certificate("one") == renewed
    assert enclave.certificate("two") == held["two"]
    assert _outcomes(enclave) == ["issued", "issued", "issued", "open"]


@pytest.fixture
def pair(enclave, registered):
    """Two replicas that hold the same certificate, each with a TLS server's directory."""
    enclave.extra["deploy"] = f"files:{enclave.state / 'tls'}"
    enclave.issue("--installer=enclave", verb="run").ok()
    other = replica(enclave, "other")
    _take(other).ok()
    return enclave, other


def _deployed(replica):
    return (replica.config.parent / "tls" / "example.test" / "fullchain.pem").read_bytes()


def test_two_replicas_at_once_place_one_order(pair, ca):
    first, second = pair
    asked, held = _orders(ca), first.certificate()
    words = first.words("renew", "--force-renewal", names=False, server=False)
    ca.stall("newOrder")
    with first.start("certbot", *words) as run:
        ca.wait_stalled(60)
        # One that knows nothing of the other's entry is stopped by the store.
        done = second.renew()
        assert (done.code, "holds another bundle" in done.text) == (1, True), done.text
        # One that looked again knows until when.
        _take(second).ok()
        done = second.renew()
        assert (done.code, "another enclave is ordering" in done.text) == (1, True), done.text
        # To a timer that is no error.
        done = second.let("renew").ok()
        assert "another enclave is renewing, until 20" in done.out
        assert _orders(ca) == asked + 1  # the one that waits
        ca.release()
        text, _ = run.communicate()
    assert run.returncode == 0, text
    assert _orders(ca) == asked + 1
    renewed = first.certificate()
    assert renewed != held == second.certificate()
    # The other one picks it up, and orders nothing.
    _take(second).ok()
    assert second.certificate() == renewed
    assert _deployed(second).startswith(renewed)
    assert _orders(ca) == asked + 1
    second.renew().ok()  # nobody else is ordering any more
    assert second.certificate() != renewed


@pytest.fixture
def suggesting(new_ca, enclave, owner):
    """An enclave with a certificate of a CA that suggests when to renew; its roots are named."""
    ca = new_ca(renew_after_days=30)
    enclave.server, enclave.tls_root = ca.directory_url, ca.tls_root
    enclave.environment["REQUESTS_CA_BUNDLE"] = str(ca.tls_root)
    owner.publish(enclave.registered()["records"])
    enclave.issue("--installer=enclave", verb="run").ok()
    return ca


def _renew_what_is_due(enclave):
    return enclave.certbot("renew", names=False, server=False).ok()


def test_what_the_ca_suggests_decides_when_to_renew(enclave, suggesting):
    ca, certificate = suggesting, enclave.certificate()
    bundle = enclave.bundle.read_bytes()
    enclave.reboot()
    _restore(enclave).ok()
    assert "not yet due" in _renew_what_is_due(enclave).out.lower()
    assert ca.count("requests", "renewalInfo") == 1
    # certbot notes when it asked; that is no reason to seal anew.
    enclave.registered()
    assert (enclave.certificate(), enclave.bundle.read_bytes()) == (certificate, bundle)
    ca.change(renew_after_days=-2)  # it has to be replaced early
    _renew_what_is_due(enclave)
    assert enclave.certificate() != certificate
    assert _orders(ca) == 2
    assert _outcomes(enclave) == ["issued", "issued"]

# SPDX-License-Identifier: Apache-2.0
"""Replicas: one renews, the others serve what it got, and the CA hears nothing of it."""

import json
import os
import selectors
import shutil
import signal
from contextlib import contextmanager

import pytest

from certbot_enclave.thrift import ledger
from tests.support.world.clock import Clock
from tests.support.world.process import eventually
from tests.support.world.replica import replica

SECONDS = 60


@pytest.fixture
def leader(enclave):
    """The enclave that will get the certificates."""
    enclave.extra["deploy"] = f"files:{enclave.state / 'tls'}"
    return enclave


@pytest.fixture
def follower(leader):
    """Another one of the same image, with RAM of its own; it has not booted yet."""
    return replica(leader, "follower")


def _served(replica):
    return replica.config.parent / "tls" / "example.test" / "fullchain.pem"


def _serves(replica, certificate):
    path = _served(replica)
    return path.exists() and path.read_bytes().startswith(certificate)


@contextmanager
def _following(replica, *more):
    words = replica.our_words("follow", "--every=1s", *more)
    with replica.start("certbot-enclave", *words) as process:
        try:
            yield process
        finally:
            process.kill()


def _line(process):
    """Return the next line. Nothing is read ahead: what is in a buffer, no selector sees."""
    descriptor, line = process.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while not line.endswith(b"\n"):
            assert selector.select(SECONDS), f"nothing more is printed after {line!r}"
            read = os.read(descriptor, 1)
            if not read:
                break
            line += read
    return line.decode()


def _until(process, words):
    lines = [_line(process)]
    while words not in lines[-1]:
        assert lines[-1], lines
        lines.append(_line(process))
    return lines


def test_from_an_empty_store_to_the_second_certificate(leader, follower, ca, owner):
    """It is started before there is an account, and never has to be started again."""
    with _following(follower) as process:
        (line,) = _until(process, "not following")
        assert line.startswith("not following (bundle-missing): the store holds no bundle")
        owner.publish(leader.registered()["records"])
        _until(process, "taken, it was")
        leader.let("certonly").ok()
        assert eventually(lambda: _serves(follower, leader.certificate()))
        assert eventually(lambda: len(_evidence(follower)) == 1)
        # While it stands still, the other one renews; what it does then, no CA hears of.
        process.send_signal(signal.SIGSTOP)
        leader.let("renew", "--force-renewal").ok()
        asked = ca.counts()["requests"]
        process.send_signal(signal.SIGCONT)
        assert eventually(lambda: _serves(follower, leader.certificate()))
        serials = [item.serial for item in leader.said().certificates]
        assert eventually(lambda: _evidence(follower) == serials)
        assert ca.counts()["requests"] == asked
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, rest
    assert "Traceback" not in rest
    assert len(ca.accounts()) == 1


def _evidence(replica):
    if not replica.evidence.exists():
        return []
    return [item.serial for item in replica.said().certificates]


def test_once(leader, follower, ca, registered):
    leader.let("certonly").ok()
    orders = ca.count("requests", "newOrder")
    first = json.loads(follower.ours("follow", "--once", "--json").ok().out)
    assert first["before"] == 0
    assert _serves(follower, leader.certificate())
    assert json.loads(follower.ours("follow", "--once", "--json").ok().out) == {
        "generation": first["generation"],
        "before": first["generation"],
    }
    leader.let("renew", "--force-renewal").ok()
    done = follower.ours("follow", "--once").ok()
    assert done.out == f"generation {first['generation'] + 2} taken, it was {first['generation']}\n"
    assert _serves(follower, leader.certificate())
    assert ca.count("requests", "newOrder") == orders + 1
    assert follower.said().account_uri == registered["account"]


def test_run_takes_what_is_newer_first(leader, follower, ca, registered):
    leader.let("certonly").ok()
    follower.let("renew").ok()
    leader.let("renew", "--force-renewal").ok()
    asked = ca.count("requests", "newOrder")
    assert "not yet due" in follower.let("renew").ok().out.lower()
    assert _serves(follower, leader.certificate())
    assert follower.certificate() == leader.certificate()
    assert ca.count("requests", "newOrder") == asked
    assert _evidence(follower) == _evidence(leader)


def test_store_that_comes_and_goes_is_said_once(leader, follower, registered):
    leader.let("certonly").ok()
    away = leader.bundle.parent.with_name("away")
    with _following(follower) as process:
        _until(process, "taken, it was 0")
        leader.bundle.parent.rename(away)
        assert len(_until(process, "not following (store-unreachable)")) <= 2
        # Several rounds later it has still said it only once.
        assert not _readable(process, 3)
        away.rename(leader.bundle.parent)
        assert _until(process, "again") == ["the store is followed again\n"]
        assert _serves(follower, leader.certificate())


def _readable(process, seconds):
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return bool(selector.select(seconds))


def test_older_bundle_is_never_taken(leader, follower, registered):
    leader.let("certonly").ok()
    old = leader.bundle.read_bytes()
    leader.let("renew", "--force-renewal").ok()
    follower.ours("follow", "--once").ok()
    leader.bundle.write_bytes(old)
    for enclave in (leader, follower):
        done = enclave.ours("follow", "--once", "--json")
        assert (done.code, json.loads(done.out)["code"]) == (1, "bundle-older")
        assert _serves(enclave, leader.certificate())
    # Nor is anything ordered behind it.
    done = leader.let("renew", "--force-renewal")
    assert (done.code, "the store holds generation" in done.err) == (1, True)


def test_store_that_was_emptied(leader, follower, registered):
    leader.let("certonly").ok()
    follower.ours("follow", "--once").ok()
    leader.bundle.unlink()
    done = follower.ours("follow", "--once", "--json")
    assert (done.code, json.loads(done.out)["code"]) == (1, "bundle-missing")
    assert _serves(follower, leader.certificate())


def test_bundle_of_another_origin_is_never_taken(leader, follower, ca, registered):
    """Same image, same paths, same sealer: another account was begun with an empty store."""
    leader.let("certonly").ok()
    follower.ours("follow", "--once").ok()
    kept = leader.bundle.read_bytes()
    leader.bundle.unlink()
    third = replica(leader, "third")
    third.register("--json").ok()
    third.register("--json").ok()
    done = follower.ours("follow", "--once", "--json")
    assert (done.code, json.loads(done.out)["code"]) == (1, "bundle-other")
    assert _serves(follower, leader.certificate())
    leader.bundle.write_bytes(kept)
    follower.ours("follow", "--once").ok()


def test_older_image_does_not_open_it(leader, follower, registered):
    leader.let("certonly").ok()
    follower.ours("follow", "--once").ok()
    leader.let("renew", "--force-renewal").ok()
    before = _served(follower).read_bytes()
    image = leader.image.read_bytes()
    leader.image.write_bytes(b"the measured application, version 0\n")
    done = follower.ours("follow", "--once", "--json")
    assert (done.code, json.loads(done.out)["code"]) == (1, "bundle-foreign")
    assert _served(follower).read_bytes() == before
    leader.image.write_bytes(image)
    follower.ours("follow", "--once").ok()


def test_certbot_at_work_is_waited_for(leader, follower, ca, registered):
    leader.let("certonly").ok()
    follower.ours("follow", "--once").ok()
    ca.stall("newAccount", "before")  # it asks whether the account is ours
    words = follower.words("renew", "--force-renewal", names=False, server=False)
    with follower.start("certbot", *words) as certbot:
        ca.wait_stalled(SECONDS)
        leader.let("renew", "--force-renewal").ok()
        newest = leader.certificate()
        with _following(follower) as process:
            _until(process, "not following (certbot-running)")
            assert not _serves(follower, newest)
            certbot.terminate()
            certbot.communicate(timeout=SECONDS)
            ca.release()
            assert eventually(lambda: _serves(follower, newest))


def test_failed_deployment_is_tried_again(leader, follower, registered):
    leader.let("certonly").ok()
    follower.ours("follow", "--once").ok()
    leader.let("renew", "--force-renewal").ok()
    done = follower.ours("follow", "--once", "--deploy-check=/bin/false")
    assert (done.code, "deploy check failed" in done.err) == (1, True)
    assert not _serves(follower, leader.certificate())
    follower.ours("follow", "--once").ok()
    assert _serves(follower, leader.certificate())


def test_reboot_of_a_replica(leader, follower, registered):
    leader.let("certonly").ok()
    follower.ours("follow", "--once").ok()
    shutil.rmtree(follower.config)
    follower.config.mkdir()
    shutil.rmtree(_served(follower).parent.parent)
    _served(follower).parent.parent.mkdir()
    follower.ours("follow", "--once").ok()
    assert _serves(follower, leader.certificate())


def test_what_only_one_has_waits_for_the_lease_of_another(leader, follower, ca, registered, shm):
    """If it were sealed at once, the other one would lose the store with what it has ordered."""
    clock = Clock(shm / "clock")
    leader.wrapper += clock.words
    follower.wrapper += clock.words
    leader.let("certonly").ok()
    leader.let("certonly", "--cert-name=spare", "--duplicate").ok()
    follower.ours("follow", "--once").ok()
    renew = ("renew", "--force-renewal", "--cert-name=example.test")
    # A certificate that is in no bundle: while it was ordered, the other one sealed something.
    ca.stall("finalize", "after")
    with follower.start("certbot-enclave", *follower.letting(*renew)) as process:
        ca.wait_stalled(SECONDS)
        leader.let("delete", "--cert-name=spare").ok()
        ca.release()
        said, _ = process.communicate(timeout=SECONDS)
    assert (process.returncode, "holds another bundle" in said) == (1, True), said
    mine = follower.certificate()
    clock.advance(ledger.LEASE.total_seconds())
    ca.stall("finalize", "after")
    with leader.start("certbot-enclave", *leader.letting(*renew)) as process:
        try:
            ca.wait_stalled(SECONDS)
            follower.ours("follow", "--once").ok()
        finally:
            ca.release()
        said, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, said
    assert _serves(follower, mine)
    follower.ours("follow", "--once").ok()
    assert follower.certificate() == leader.certificate() != mine
    assert _serves(follower, leader.certificate())


@pytest.mark.parametrize("how", ["follow", "run"])
def test_evidence_that_was_not_made_is_made_by_the_next(leader, follower, registered, how):
    leader.let("certonly").ok()
    follower.ours("follow", "--once").ok()
    old = follower.evidence.read_bytes()
    leader.let("renew", "--force-renewal").ok()
    follower.ours("follow", "--once").ok()
    newer = follower.said()
    for left in (old, b"{}"):  # it was killed before, or evidence is damaged
        follower.evidence.write_bytes(left)
        again = follower.ours("follow", "--once") if how == "follow" else follower.let("renew")
        again.ok()
        assert follower.said().generation == newer.generation
        assert follower.said().certificates == newer.certificates
    # Then there is nothing left to do.
    placed = follower.evidence.read_bytes()
    follower.ours("follow", "--once").ok()
    assert follower.evidence.read_bytes() == placed
    follower.evidence.unlink()
    follower.ours("follow", "--once").ok()
    assert follower.said().generation == newer.generation

# SPDX-License-Identifier: Apache-2.0
"""``attest --watch`` renews evidence, stays, and ends when it is told to."""

import json
import selectors
import signal
from contextlib import contextmanager

import pytest

from tests.support.world.process import eventually

SECONDS = 60


@contextmanager
def _watching(enclave):
    process = enclave.start("certbot-enclave", "attest", "--watch", *enclave.directories)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _line(process):
    """The next line that it prints, or what is there when nothing comes."""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        assert selector.select(SECONDS), "nothing is printed"
    return process.stdout.readline()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_it_renews_evidence_and_stays_until_a_signal_comes(enclave, registered, end):
    before = enclave.evidence.read_bytes()
    with _watching(enclave) as process:
        assert _line(process).startswith("evidence is renewed, the next one comes at ")
        made = enclave.evidence.read_bytes()
        assert made != before
        assert process.poll() is None
        process.send_signal(end)
        rest, _ = process.communicate(timeout=SECONDS)
    assert "Traceback" not in rest
    assert process.returncode == (-end if end == signal.SIGTERM else 130)
    # Nothing but the whole evidence is ever there.
    assert enclave.evidence.read_bytes() == made
    assert [path.name for path in enclave.evidence.parent.glob("*evidence*")] == ["evidence.json"]
    (domain,) = enclave.said().domains
    assert (domain.name, domain.verdict) == ("example.test", "exclusive")


def test_it_is_the_evidence_that_owners_verify(enclave, registered, owner):
    with _watching(enclave) as process:
        assert "is renewed" in _line(process)
        policy = owner.policy(enclave.state / "policy.toml", enclave)
        done = enclave.run(
            *("certbot-enclave", "verify", str(enclave.evidence), "--domain=example.test"),
            *(f"--policy={policy}", f"--trust-root={enclave.simulator / 'root.pem'}"),
        ).ok()
    assert "proved:      document is fresh" in done.out


def test_certbot_works_beside_it(enclave, registered):
    with _watching(enclave) as process:
        assert "is renewed" in _line(process)
        enclave.issue().ok()
        assert process.poll() is None
        assert len(enclave.said().certificates) == 1


def _ended(enclave, *arguments):
    return enclave.run("certbot-enclave", "attest", "--watch", *enclave.directories, *arguments)


def test_it_ends_if_the_first_try_fails(enclave, registered):
    kept = enclave.evidence.read_bytes()
    enclave.image.unlink()
    done = _ended(enclave)
    assert (done.code, done.out) == (3, "")
    assert "certbot-enclave: error: no simulated enclave in" in done.err
    assert enclave.evidence.read_bytes() == kept


def test_it_needs_an_account(enclave, ca, owner):
    done = _ended(enclave, *enclave.settings("--"))
    assert (done.code, done.out) == (2, "")
    assert "this enclave has no account yet" in done.err
    assert ca.accounts() == []


def test_nonce_is_asked_for_once(enclave, registered):
    done = _ended(enclave, "--nonce", "00" * 16)
    assert done.code == 2
    assert "not allowed with" in done.err


def test_two_that_watch_do_not_disturb_each_other(enclave, registered):
    with _watching(enclave) as one, _watching(enclave) as two:
        assert "is renewed" in _line(one)
        assert "is renewed" in _line(two)
        assert eventually(lambda: json.loads(enclave.evidence.read_text())["type"] != "")
        assert (one.poll(), two.poll()) == (None, None)

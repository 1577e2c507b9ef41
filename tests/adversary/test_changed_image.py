# SPDX-License-Identifier: Apache-2.0
"""One byte of the image differs: its evidence is rejected, and it cannot unseal."""

import json

import pytest


def _verify(enclave, evidence, policy, root, *more):
    words = [str(evidence), "--domain=example.test", f"--policy={policy}", f"--trust-root={root}"]
    return enclave.run("certbot-enclave", "verify", *words, *more)


@pytest.fixture
def policy(enclave, ca, owner, shm):
    """The owner's policy for the genuine image."""
    enclave.register().ok()
    return owner.policy(shm / "policy.toml", enclave)


def test_genuine_evidence_holds(enclave, policy):
    done = _verify(enclave, enclave.evidence, policy, enclave.simulator / "root.pem", "--json").ok()
    assert json.loads(done.out)["measurements"] == "image"
    assert json.loads(done.out)["simulated"] is True


def test_changed_image_is_rejected(enclave, policy):
    """On the same hardware, with an account of its own."""
    image = enclave.image.read_bytes().replace(b"1", b"2")
    changed = enclave.sibling("changed", image, shared=("root.key", "root.pem"))
    changed.register().ok()
    done = _verify(enclave, changed.evidence, policy, enclave.simulator / "root.pem")
    assert done.code == 1
    assert "PCR0 is" in done.err
    assert done.out == ""


def test_other_hardware_is_rejected(enclave, policy):
    """The same image, under a root that the host made up."""
    other = enclave.sibling("other", enclave.image.read_bytes())
    other.register().ok()
    done = _verify(enclave, other.evidence, policy, enclave.simulator / "root.pem")
    assert done.code == 1
    assert "the root that was named has" in done.err


def test_simulated_evidence_is_never_real(enclave, policy):
    words = [str(enclave.evidence), "--domain=example.test", f"--policy={policy}"]
    done = enclave.run("certbot-enclave", "verify", *words)
    assert done.code == 1
    assert "the AWS Nitro root has" in done.err


def test_old_nonce_is_a_replay(enclave, policy, shm):
    root = enclave.simulator / "root.pem"
    first, second = "11" * 32, "22" * 32
    answer = shm / "answer.json"
    words = [*enclave.directories, f"--nonce={first}"]
    answer.write_text(enclave.run("certbot-enclave", "attest", *words).ok().out)
    _verify(enclave, answer, policy, root, f"--nonce={first}").ok()
    for nonce in ([f"--nonce={second}"], []):
        done = _verify(enclave, answer, policy, root, *nonce)
        assert done.code == 1
        assert "nonce is" in done.err
    stored = _verify(enclave, enclave.evidence, policy, root, f"--nonce={first}")
    assert stored.code == 1
    assert "nonce is none" in stored.err


def test_evidence_for_another_domain_or_cut_short(enclave, policy, shm):
    root = enclave.simulator / "root.pem"
    words = [str(enclave.evidence), "--domain=other.test", f"--policy={policy}"]
    done = enclave.run("certbot-enclave", "verify", *words, f"--trust-root={root}")
    assert done.code == 1
    assert "statement is about example.test, expected other.test" in done.err
    cut = shm / "cut.json"
    cut.write_bytes(enclave.evidence.read_bytes()[:-20])
    done = _verify(enclave, cut, policy, root)
    assert done.code == 1
    assert "evidence is no strict JSON" in done.err


def test_statement_about_another_account_is_unbound(enclave, policy, shm, ca):
    """The host writes its own account into the enclave's statement."""
    forged = shm / "forged.json"
    (account,) = ca.accounts()
    forged.write_text(enclave.evidence.read_text().replace("account/1", "account/2"))
    done = _verify(enclave, forged, policy, enclave.simulator / "root.pem")
    assert done.code == 1
    assert "binds another statement" in done.err
    assert account["uri"].endswith("account/1")

# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave seal``: what bare certbot does between two issuances gets into the store."""

import json

from tests.support.world.replica import replica


def _sealed(enclave):
    return json.loads(enclave.ours("seal", "--json").ok().out)


def test_it_writes_only_what_changed(enclave, ca, issued):
    asked, kept = ca.counts()["requests"], enclave.bundle.read_bytes()
    before = _sealed(enclave)
    assert (before["written"], enclave.bundle.read_bytes()) == (False, kept)
    enclave.certbot("delete", "--cert-name=example.test", names=False, server=False).ok()
    assert _sealed(enclave) == {"generation": before["generation"] + 1, "written": True}
    done = enclave.ours("seal").ok()
    assert done.out == (
        f"generation:  {before['generation'] + 1}\nwritten:     no, the store has it all\n"
    )
    assert ca.counts()["requests"] == asked


def test_what_was_not_restored_is_not_sealed(enclave, issued):
    kept = enclave.bundle.read_bytes()
    enclave.reboot()
    done = enclave.ours("seal")
    assert (done.code, "state must be restored before" in done.err) == (1, True), done.text
    assert enclave.bundle.read_bytes() == kept


def test_plaintext_account_is_not_sealed(enclave, issued):
    kept = enclave.bundle.read_bytes()
    key = next(enclave.config.rglob("private_key.json"))
    planted = key.parent.parent / ("0" * 32) / key.name
    planted.parent.mkdir()
    planted.write_text(json.dumps({"kty": "oct", "k": "AA"}))
    done = enclave.ours("seal")
    assert (done.code, "was not made by this enclave" in done.err) == (1, True), done.text
    assert enclave.bundle.read_bytes() == kept


def test_nothing_to_seal(enclave):
    enclave.ours("restore")
    done = enclave.ours("seal")
    assert (done.code, "this enclave has no account yet" in done.err) == (2, True), done.text


def test_store_out_of_reach(enclave, issued):
    enclave.certbot("delete", "--cert-name=example.test", names=False, server=False).ok()
    enclave.bundle.parent.rename(enclave.bundle.parent.with_name("away"))
    done = enclave.ours("seal", "--json")
    assert (done.code, json.loads(done.out)["code"]) == (3, "store-unreachable")


def test_faster_enclave_is_not_overwritten(enclave, issued):
    other = replica(enclave, "other")
    other.ours("restore").ok()
    enclave.certbot("delete", "--cert-name=example.test", names=False, server=False).ok()
    generation = _sealed(enclave)["generation"]
    other.certbot("delete", "--cert-name=example.test", names=False, server=False).ok()
    done = other.ours("seal", "--json")
    table = json.loads(done.out)
    assert (done.code, table["code"]) == (1, "store-conflict")
    assert "certbot-enclave follow --once" in table["hint"]
    other.ours("follow", "--once").ok()
    assert _sealed(other) == {"generation": generation, "written": False}

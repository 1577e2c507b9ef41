# SPDX-License-Identifier: Apache-2.0
"""A PCR that is bound to the account is in every document, verifies, and outlives no boot."""

import base64
import hashlib
import json

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

INDEX = 17


@pytest.fixture
def enclave(enclave):
    enclave.extra["bind-pcr"] = str(INDEX)
    return enclave


def _evidence(enclave):
    """The PCRs of 16 and more in the placed evidence, and what the statement says."""
    table = json.loads(enclave.evidence.read_text())
    message = cbor2.loads(base64.b64decode(table["attestation"]["document"]))
    pcrs = cbor2.loads(message[2])["pcrs"]
    said = json.loads(table["statement"])
    return {index: value for index, value in pcrs.items() if index >= 16}, said


def _expected(said):
    """By the formula of docs/evidence.md, from what the statement says."""
    x, y = (base64.urlsafe_b64decode(said["account"]["key"][name] + "=") for name in ("x", "y"))
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + x + y)
    key = point.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    uri = said["account"]["uri"].encode()
    binding = hashlib.sha384(b"certbot-enclave-account-v1:" + uri + b"\0" + key).digest()
    return hashlib.sha384(bytes(48) + binding).digest()


def _bound(enclave):
    pcrs, said = _evidence(enclave)
    assert said["settings"]["bind_pcr"] == str(INDEX)
    assert pcrs == {INDEX: _expected(said)}
    return said["account"]["uri"]


def _verified(enclave, owner, more=""):
    policy = owner.policy(enclave.state / "policy.toml", enclave, more)
    assert "PCR17" not in policy.read_text()
    return enclave.run(
        "certbot-enclave",
        "verify",
        str(enclave.evidence),
        "--domain=example.test",
        f"--policy={policy}",
        f"--trust-root={enclave.simulator / 'root.pem'}",
        "--json",
    )


def _next_boot(enclave):
    enclave.reboot()
    (enclave.simulator / "pcrs.json").unlink()


def test_evidence_carries_it_from_the_first_on(enclave, ca, registered, owner):
    assert _bound(enclave) == ca.accounts()[0]["uri"]
    table = json.loads(_verified(enclave, owner).ok().out)
    assert table["account"] == registered["account"]


def test_evidence_with_another_value_does_not_verify(enclave, ca, owner):
    """Something else in the image had extended the PCR, and the settings did not say so."""
    bank = {str(INDEX): [True, hashlib.sha384(b"something else").hexdigest()]}
    (enclave.simulator / "pcrs.json").write_text(json.dumps(bank))
    del enclave.extra["bind-pcr"]
    table = enclave.registered()
    owner.publish(table["records"])
    refused = _verified(enclave, owner)
    assert (refused.code, json.loads(refused.out)["code"]) == (1, "pcr-extra")


def test_certificates_are_issued_and_renewed_all_the_same(enclave, ca, registered, owner):
    enclave.issue().ok()
    enclave.renew().ok()
    assert len(ca.certificates()) == 2
    _bound(enclave)
    table = json.loads(_verified(enclave, owner).ok().out)
    assert (table["verdict"], len(table["certificates"])) == ("exclusive", 1)
    # The settings were saved: a command without them finds and says the same.
    enclave.run("certbot-enclave", "attest", *enclave.directories).ok()
    _bound(enclave)


def test_next_boot_restores_what_was_sealed_with_it_and_binds_it_anew(enclave, ca, registered):
    enclave.issue().ok()
    account = _bound(enclave)
    _next_boot(enclave)
    assert not enclave.config.exists()
    again = enclave.registered()
    assert (again["account"], again["new"]) == (account, False)
    assert _bound(enclave) == account
    assert enclave.said().restored_from >= 1
    enclave.renew().ok()
    assert len(ca.accounts()) == 1


def test_bundle_that_was_sealed_with_it_needs_the_setting(enclave, ca, registered):
    _next_boot(enclave)
    del enclave.extra["bind-pcr"]
    done = enclave.register("--json")
    assert (done.code, json.loads(done.out)["code"]) == (1, "bundle-foreign")
    assert "PCR17" in done.err


def test_same_boot_goes_on_with_it(enclave, ca, registered):
    """certbot's directories are lost, and the enclave has not ended."""
    account = _bound(enclave)
    enclave.reboot()
    assert enclave.registered()["account"] == account
    assert _bound(enclave) == account


def test_second_account_in_the_same_boot_is_refused_before_it_is_made(enclave, ca, registered):
    enclave.reboot()
    enclave.bundle.unlink()
    done = enclave.register("--json")
    assert (done.code, json.loads(done.out)["code"]) == (3, "pcr-taken")
    assert len(ca.accounts()) == 1
    _next_boot(enclave)
    assert enclave.registered()["new"] is True
    assert len(ca.accounts()) == 2
    _bound(enclave)


def test_account_of_another_boot_is_not_bound_over_it(enclave, ca, registered):
    """The host shows another bundle to an enclave that runs: its PCR is taken."""
    first = enclave.bundle.read_bytes()
    _next_boot(enclave)
    enclave.bundle.unlink()
    enclave.registered()
    enclave.reboot()
    enclave.bundle.write_bytes(first)
    done = enclave.register("--json")
    assert (done.code, json.loads(done.out)["code"]) == (3, "pcr-taken")


def test_further_account_is_neither_bound_nor_in_its_way(enclave, ca, registered, new_ca):
    """A staging account beside the enclave's own (docs/operator.md, Rehearsals)."""
    account = _bound(enclave)
    own = (enclave.server, enclave.tls_root)
    staging = new_ca()
    enclave.server, enclave.tls_root = staging.directory_url, staging.tls_root
    further = enclave.registered()
    assert (further["new"], further["evidence"]) == (True, None)
    enclave.server, enclave.tls_root = own
    enclave.run("certbot-enclave", "attest", *enclave.directories).ok()
    assert _bound(enclave) == account


def test_registration_that_was_killed_before_it_was_bound(enclave, ca, registered):
    """What is left: the account on file, the PCR extended and not locked."""
    account = _bound(enclave)
    path = enclave.simulator / "pcrs.json"
    path.write_text(json.dumps({str(INDEX): [False, json.loads(path.read_text())["17"][1]]}))
    assert enclave.registered()["account"] == account
    assert _bound(enclave) == account
    assert json.loads(path.read_text())["17"][0] is True

# SPDX-License-Identifier: Apache-2.0
"""Oyster's document is taken from this enclave's own server, and its own key signs for us."""

import hashlib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from zope.interface.verify import verifyClass, verifyObject

from certbot_enclave import errors, registry, statement, verification
from certbot_enclave.attestation import document, oyster, oyster_signed, proof
from certbot_enclave.attestation.oyster import MAX_DOCUMENT, OysterAttester
from certbot_enclave.interfaces import IAttester, ISecurityModule
from certbot_enclave.policy import Policy
from tests.support import forge
from tests.support.world.oyster import Oyster
from tests.support.world.process import free_port

KEY = forge.spki(forge.ACCOUNT)
NONCE = b"n" * 16
OTHER = ec.derive_private_key(7, ec.SECP256K1())
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


@pytest.fixture
def server(tmp_path):
    with Oyster(tmp_path) as started:
        yield started


@pytest.fixture
def attester(server):
    return OysterAttester(server.argument)


def _attest(attester, nonce=None):
    return attester.attest(user_data=b"said", public_key=KEY, nonce=nonce)


def _refused(act):
    with pytest.raises(errors.EnclaveError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return caught.value


def test_interface(attester):
    assert verifyClass(IAttester, OysterAttester)
    assert verifyObject(IAttester, attester)
    assert not ISecurityModule.providedBy(attester)
    assert (attester.simulated, attester.format) == (False, "oyster-signed")
    assert attester.trust_root is None


@pytest.mark.parametrize("nonce", [None, NONCE])
def test_document_of_the_server_and_a_signature_behind_it(server, attester, nonce):
    shown, signature = proof.split(_attest(attester, nonce), attester.format)
    found = document.authenticate(shown, trust_root=server.root)
    assert (found.public_key, found.user_data, found.nonce) == (forge.oyster_key(), b"", None)
    oyster_signed.verify(found.public_key, signature, user_data=b"said", nonce=nonce)
    assert server.asked == ["GET /attestation/raw"]


def test_each_document_is_a_new_one(server, attester):
    first, second = _attest(attester), _attest(attester)
    assert first[-64:] != second[-64:]
    assert server.asked == ["GET /attestation/raw"] * 2


def test_evidence_of_it_verifies_by_the_image_id(server, attester):
    server.lock(16, b"digest of the parameters")
    pcr16 = hashlib.sha384(bytes(48) + b"digest of the parameters").digest()
    measured = b"".join(forge.PCRS.values()) + pcr16
    image = hashlib.sha256(b"\x00\x01\x00\x07" + measured).digest()
    now = datetime.now(UTC).replace(microsecond=0)
    text = statement.build(forge.STATEMENT._replace(issued_at=now))
    attested = attester.attest(user_data=statement.user_data(text), public_key=KEY, nonce=NONCE)
    evidence = statement.build_evidence(text, *proof.split(attested, attester.format))
    found = verification.verify(
        evidence,
        Policy(sets={}, images={"mine": image}),
        domain="example.com",
        nonce=NONCE,
        now=datetime.now(UTC),
        trust_root=server.root,
    )
    assert (found.format, found.matched) == ("oyster-signed", "mine")


# --- the key file ---


def test_without_a_key_file_this_is_not_its_place(server):
    server.key_file.unlink()
    refused = _refused(lambda: OysterAttester(server.argument))
    assert refused.code == "attester-absent"
    assert str(refused) == f"there is no {server.key_file}"


def test_key_file_that_cannot_be_read(server):
    server.key_file.unlink()
    server.key_file.mkdir()
    refused = _refused(lambda: OysterAttester(server.argument))
    assert (refused.code, "cannot read" in str(refused)) == ("oyster-key-file", True)


SECRET = forge.OYSTER.private_numbers().private_value.to_bytes(32, "big")
NO_KEYS = {
    "empty": b"",
    "a byte short": SECRET[1:],
    "a byte long": SECRET + b"\0",
    "a zero before it": b"\0" + SECRET,
    "in hex": SECRET.hex().encode(),
    "zero": bytes(32),
    "the order": ORDER.to_bytes(32, "big"),
    "above the order": b"\xff" * 32,
}


@pytest.mark.parametrize("data", NO_KEYS.values(), ids=NO_KEYS)
def test_key_file_that_holds_no_key(server, data):
    server.key_file.write_bytes(data)
    refused = _refused(lambda: OysterAttester(server.argument))
    assert refused.code == "oyster-key-file"
    assert refused.__suppress_context__  # an error that knows the key is never printed
    assert str(refused) == f"{server.key_file} is no secp256k1 key of 32 bytes"


# --- where the server is ---

NOT_HERE = {
    "another host": "http://192.0.2.1:1301",
    "any address": "http://0.0.0.0:1301",
    "a name": "http://localhost:1301",
    "a name that begins alike": "http://127.0.0.1.example:1301",
    "a user that looks alike": "http://127.0.0.1:1301@192.0.2.1",
    "no host": "http://:1301",
    "no scheme": "127.0.0.1:1301",
    "https": "https://127.0.0.1:1301",
    "file": "file://127.0.0.1/attestation/raw",
    "a path": "http://127.0.0.1:1301/attestation/raw",
    "a query": "http://127.0.0.1:1301?public_key=00",
    "a port that is none": "http://127.0.0.1:x",
    "a port too high": "http://127.0.0.1:65536",
    "half an address": "http://[::1",
}


@pytest.mark.parametrize("url", NOT_HERE.values(), ids=NOT_HERE)
def test_server_must_be_in_this_enclave(server, url):
    with pytest.raises(errors.PolicyError) as caught:
        OysterAttester(f"{url}#{server.key_file}")
    assert (caught.value.code, url in str(caught.value)) == ("oyster-url", True)
    assert server.asked == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1301/", "http://[::1]:1301", "http://127.9.9.9"])
def test_every_loopback_address_is_in_it(server, url):
    assert OysterAttester(f"{url}#{server.key_file}")


def test_without_an_argument_it_is_where_oyster_has_it(monkeypatch, server):
    assert (oyster.URL, oyster.KEY_FILE) == ("http://127.0.0.1:1301", "/app/ecdsa.sec")
    monkeypatch.setattr(oyster, "URL", server.url)
    monkeypatch.setattr(oyster, "KEY_FILE", str(server.key_file))
    for argument in ("", "#", f"#{server.key_file}", server.url, f"{server.url}/#"):
        assert _attest(OysterAttester(argument))
    assert _attest(registry.load_attester("oyster"))
    assert len(server.asked) == 6


# --- what the server answers ---


def test_server_that_is_not_there(server):
    gone = OysterAttester(f"http://127.0.0.1:{free_port()}#{server.key_file}")
    refused = _refused(lambda: _attest(gone))
    assert (refused.code, "ConnectionRefusedError" in str(refused)) == ("oyster-unreachable", True)


NO_HTTP = {
    "nothing": b"",
    "no HTTP": b"Internal Server Error\r\n\r\n",
    "no number": b"HTTP/1.1 OK\r\n\r\n",
    "endless status": b"HTTP/1.1 200 " + b"x" * 70_000,
    "endless header": b"HTTP/1.1 200 OK\r\nServer: " + b"x" * 70_000,
    "endless headers": b"HTTP/1.1 200 OK\r\n" + b"Server: x\r\n" * 1000,
    "chunks that are none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
}


@pytest.mark.parametrize("raw", NO_HTTP.values(), ids=NO_HTTP)
def test_server_that_does_not_speak_http(server, attester, raw):
    server.fault(raw=raw)
    assert _refused(lambda: _attest(attester)).code == "oyster-unreachable"


@pytest.mark.parametrize("status", [201, 204, 302, 404, 500])
def test_only_the_status_200_counts(server, attester, status):
    server.fault(status=status)
    refused = _refused(lambda: _attest(attester))
    assert (refused.code, f"answers {status} with" in str(refused)) == ("oyster-answer", True)


def test_answer_is_read_so_far_and_no_further(server, attester):
    server.fault(body=bytes(MAX_DOCUMENT + 50_000_000))
    refused = _refused(lambda: _attest(attester))
    assert refused.code == "oyster-answer"
    assert f"with {MAX_DOCUMENT + 1} bytes" in str(refused)
    server.fault(body=bytes(MAX_DOCUMENT))
    assert "gave no document" in str(_refused(lambda: _attest(attester)))


def _no_documents(server):
    whole = server.document()
    return {
        "nothing": b"",
        "text": b"Internal Server Error",
        "hex": whole.hex().encode(),
        "cut": whole[:-1],
        "a byte behind": whole + b"\0",
        "tagged": b"\xd2" + whole,
        "a field missing": forge.document(public_key=forge.oyster_key(), timestamp=...),
    }


def test_answer_that_is_no_document(server, attester):
    for name, body in _no_documents(server).items():
        server.fault(body=body)
        refused = _refused(lambda: _attest(attester))
        assert (refused.code, "gave no document" in str(refused)) == ("oyster-answer", True), name
    server.fault()
    assert _attest(attester)


KEYS = {
    "another enclave's": forge.oyster_key(OTHER),
    "X25519, of port 1300": bytes(range(32)),
    "none": None,
    "empty": b"",
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_document_over_another_key(server, attester, key):
    server.public_key = key
    refused = _refused(lambda: _attest(attester))
    assert (refused.code, "another key" in str(refused)) == ("oyster-answer", True)
    assert "1301" in refused.hint


def test_short_halves_of_a_signature_are_filled_up(server, attester):
    server.fault(body=server.document())  # the same one each time: this is about the signature
    seen = set()
    for number in range(2000):
        data = attester.attest(user_data=b"%d" % number, public_key=KEY, nonce=None)
        _shown, signature = proof.split(data, attester.format)
        seen |= {half for half in (0, 32) if signature[half] == 0}
        if len(seen) == 2:
            break
    assert seen == {0, 32}
    oyster_signed.verify(forge.oyster_key(), signature, user_data=b"%d" % number, nonce=None)

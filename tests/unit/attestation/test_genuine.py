# SPDX-License-Identifier: Apache-2.0
"""Documents that AWS signed authenticate under the built-in root; any change is refused."""

import hashlib
import random

import pytest

from certbot_enclave import errors
from certbot_enclave.attestation import cbor, chain, cose, document

pytestmark = pytest.mark.corpus

FLIPS = 60  # per document, of a fixed sample

INVALID_CODES = {
    "invalid-malformed-cbor": "cbor-text",
    "invalid-malformed-or-fake": "cose-unprotected",
    "invalid-signature": "cose-signature",
    "invalid-untrusted-root": "chain-root",
}


def test_genuine_documents_authenticate(genuine):
    for item, data in genuine:
        assert hashlib.sha256(data).hexdigest() == item["sha256"]
        found = document.authenticate(data, trust_root=None)
        assert found.debug == (item["category"] == "valid-debug"), item["name"]
        assert found.module_id == item["module_id"]
        assert found.timestamp_ms == item["timestamp_ms"]
        assert found.not_understood == ()
        assert len(found.pcrs) == item["pcr_count"]
        for index in (0, 1, 2, 3, 4, 8):
            assert found.pcrs[index].hex() == item[f"pcr{index}"], item["name"]
        for field in ("public_key", "user_data", "nonce"):
            value = getattr(found, field)
            assert item[f"{field}_len"] == (None if value is None else len(value)), item["name"]


def test_both_forms_of_the_payload_map_are_among_them(genuine):
    first = {cose.parse(data).payload[0] for _item, data in genuine}
    assert first == {0xA9, 0xBF}


def test_invalid_documents_are_refused(corpus, manifest):
    seen = {}
    for item in manifest:
        if item["category"].startswith("invalid"):
            data = (corpus / "nitro" / item["name"]).read_bytes()
            with pytest.raises((errors.FormatError, errors.VerificationError)) as caught:
                document.authenticate(data, trust_root=None)
            seen[item["category"]] = caught.value.code
    assert seen == INVALID_CODES


def test_one_changed_byte_anywhere_is_refused(genuine):
    for item, data in genuine:
        sample = random.Random(item["name"])
        for at in {0, len(data) - 1, *sample.sample(range(len(data)), FLIPS)}:
            changed = bytearray(data)
            changed[at] ^= sample.randrange(1, 256)
            with pytest.raises((errors.FormatError, errors.VerificationError)):
                document.authenticate(bytes(changed), trust_root=None)


def _envelope(data, *, head=b"\x84", unprotected=b"\xa0", payload=None, tail=b""):
    found = cose.parse(data)
    body = cbor.dumps(found.payload) if payload is None else payload(found.payload)
    protected, signature = cbor.dumps(cose.PROTECTED), cbor.dumps(found.signature)
    return head + protected + unprotected + body + signature + tail


def _overlong(payload):
    return b"\x5a" + len(payload).to_bytes(4, "big") + payload


def _chunked(payload):
    return b"\x5f" + cbor.dumps(payload[:100]) + cbor.dumps(payload[100:]) + b"\xff"


# Nothing that is signed changes in these; lenient parsers take them, and so know one attestation
# under many byte strings.
ENVELOPES = {
    "tag 18": ({"head": b"\xd2\x84"}, "cose-tagged"),
    "tag 99": ({"head": b"\xd8\x63\x84"}, "cbor-type"),
    "tag 18 twice": ({"head": b"\xd2\xd2\x84"}, "cose-tagged"),
    "unprotected key id": ({"unprotected": b"\xa1\x04\x41\x00"}, "cose-unprotected"),
    "unprotected algorithm": ({"unprotected": b"\xa1\x01\x26"}, "cose-unprotected"),
    "unprotected null": ({"unprotected": b"\xf6"}, "cose-unprotected"),
    "unprotected twice": ({"unprotected": b"\xa2\x04\x00\x04\x00"}, "cbor-duplicate"),
    "unprotected indefinite": ({"unprotected": b"\xbf\xff"}, "cbor-indefinite"),
    "trailing byte": ({"tail": b"\x00"}, "cbor-trailing"),
    "outer array indefinite": ({"head": b"\x9f", "tail": b"\xff"}, "cbor-indefinite"),
    "payload length overlong": ({"payload": _overlong}, "cbor-overlong"),
    "payload chunked": ({"payload": _chunked}, "cbor-indefinite"),
    "five elements": ({"head": b"\x85", "tail": b"\x00"}, "cose-shape"),
}


@pytest.mark.parametrize(("change", "code"), ENVELOPES.values(), ids=ENVELOPES)
def test_envelope_in_another_form_is_refused(genuine, change, code):
    for item, data in genuine:
        assert _envelope(data) == data
        with pytest.raises(errors.FormatError) as caught:
            document.authenticate(_envelope(data, **change), trust_root=None)
        assert caught.value.code == code, item["name"]


def test_high_s_authenticates_as_in_half_of_them(genuine):
    assert {item["high_s"] for item, _data in genuine} == {True, False}


def test_root_is_that_of_the_pem_file(corpus, genuine):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    pem = (corpus / "nitro" / "aws-nitro-root-g1.pem").read_bytes()
    der = x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)
    assert chain.is_aws_root(der)
    for _item, data in genuine:
        assert document.authenticate(data, trust_root=der).cabundle[0] == der

# SPDX-License-Identifier: Apache-2.0
"""Documents that AWS signed authenticate under the built-in root; any change is refused."""

import hashlib
import random
from collections import Counter

import pytest

from certbot_enclave import errors
from certbot_enclave.attestation import cbor, chain, cose, document

pytestmark = pytest.mark.corpus

FLIPS = 100  # bits per document, of a fixed sample
BYTES = 60  # likewise

# A changed bit or byte of a genuine document is refused for one of these reasons, and no other.
FLIP_CODES = {
    *("cbor-depth", "cbor-duplicate", "cbor-indefinite", "cbor-key", "cbor-overlong", "cbor-size"),
    *("cbor-text", "cbor-trailing", "cbor-truncated", "cbor-type"),
    *("cose-protected", "cose-signature", "cose-unprotected"),
    *("document-cabundle", "document-digest", "document-missing", "document-module_id"),
    *("document-nonce", "document-payload", "document-pcrs", "document-public_key"),
    *("document-timestamp", "document-user_data"),
    *("certificate-format", "chain-algorithm", "chain-expired", "chain-key", "chain-not-yet-valid"),
    *("chain-order", "chain-root", "chain-signature"),
}


def refused(data):
    """The code for which a document is refused, which it must be."""
    with pytest.raises((errors.FormatError, errors.VerificationError)) as caught:
        document.authenticate(data, trust_root=None)
    return caught.value.code


def flipped(data, bit):
    """The data with one bit changed."""
    changed = bytearray(data)
    changed[bit // 8] ^= 0x80 >> bit % 8
    return bytes(changed)


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


# What the manifest says about an invalid document, word for word, and our code for it.
INVALID = {
    "invalid-malformed-cbor": ("parse_error", "error decoding text string", "cbor-text"),
    "invalid-malformed-or-fake": ("unprotected", "None", "cose-unprotected"),
    "invalid-signature": ("expected_error", "ErrBadSignature", "cose-signature"),
    "invalid-untrusted-root": (
        "expected_error",
        "chain ends in Marlin mock root, not AWS",
        "chain-root",
    ),
}


def test_invalid_documents_are_refused_for_the_reason_expected(corpus, manifest):
    seen = set()
    for item in manifest:
        if item["category"].startswith("valid"):
            continue
        field, words, code = INVALID[item["category"]]
        assert words in item[field]
        assert refused((corpus / "nitro" / item["name"]).read_bytes()) == code
        seen.add(item["category"])
    assert seen == INVALID.keys()


def test_fake_with_a_right_envelope_is_refused_for_its_missing_issuers(corpus, manifest):
    # What its publisher's own test expects: "self-signed, cabundle null".
    (item,) = (item for item in manifest if item["category"] == "invalid-malformed-or-fake")
    assert "cabundle null" in item["expected_error"]
    parts = cbor.loads((corpus / "nitro" / item["name"]).read_bytes())
    assert refused(cbor.dumps([parts[0], {}, *parts[2:]])) == "document-cabundle"


def test_one_changed_bit_anywhere_is_refused(genuine):
    codes = Counter()
    for item, data in genuine:
        sample = random.Random(item["name"])
        for bit in {0, 8 * len(data) - 1, *sample.sample(range(8 * len(data)), FLIPS)}:
            codes[refused(flipped(data, bit))] += 1
    assert codes.keys() <= FLIP_CODES
    # They get everywhere: into the envelope, the fields, the certificates and the signatures.
    reached = ("cbor-truncated", "document-missing", "certificate-format", "chain-root")
    assert {*reached, "chain-signature", "cose-signature"} <= codes.keys()
    assert codes.total() >= FLIPS * len(genuine)


def test_one_changed_byte_anywhere_is_refused(genuine):
    for item, data in genuine:
        sample = random.Random(item["name"])
        for at in {0, len(data) - 1, *sample.sample(range(len(data)), BYTES)}:
            changed = bytearray(data)
            changed[at] ^= sample.randrange(1, 256)
            assert refused(bytes(changed)) in FLIP_CODES


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

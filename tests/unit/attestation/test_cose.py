# SPDX-License-Identifier: Apache-2.0
"""COSE_Sign1 is taken in Nitro's one form, and its signature is exactly ES384."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.attestation import cbor, cose
from certbot_enclave.attestation.simulated import sign

KEY = ec.generate_private_key(ec.SECP384R1())
PAYLOAD = b"what the leaf's key signs"
MESSAGE = sign(PAYLOAD, KEY)
SIGNATURE = cose.parse(MESSAGE).signature
# Order of P-384's base point, SEC 2 §2.5.1.
ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)


def _message(*, head=b"\x84", protected=None, unprotected=b"\xa0", payload=None, signature=None):
    """Write the message by hand, so that parts can be in another form."""
    return b"".join(
        (
            head,
            b"\x44\xa1\x01\x38\x22" if protected is None else protected,
            unprotected,
            cbor.dumps(PAYLOAD) if payload is None else payload,
            cbor.dumps(SIGNATURE) if signature is None else signature,
        )
    )


def test_written_by_hand_it_is_the_same():
    assert _message() == MESSAGE


def test_parts_and_signature():
    found = cose.parse(MESSAGE)
    assert found == cose.Sign1(PAYLOAD, SIGNATURE)
    cose.verify(found, KEY.public_key())


def test_signed_bytes_are_those_of_the_standard():
    # RFC 9052 §4.4: ["Signature1", protected, external_aad, payload]
    assert cose.to_be_signed(b"ab") == b"\x84\x6aSignature1\x44\xa1\x01\x38\x22\x40\x42ab"


LONG = cose.MAX_PAYLOAD
REFUSED = {
    "nothing": (b"", "cbor-truncated"),
    "tag 18": (b"\xd2" + MESSAGE, "cose-tagged"),
    "tag 18 twice": (b"\xd2\xd2" + MESSAGE, "cose-tagged"),
    "tag 99": (b"\xd8\x63" + MESSAGE, "cbor-type"),
    "trailing byte": (MESSAGE + b"\0", "cbor-trailing"),
    "outer array indefinite": (_message(head=b"\x9f") + b"\xff", "cbor-indefinite"),
    "outer length overlong": (_message(head=b"\x98\x04"), "cbor-overlong"),
    "no array": (cbor.dumps({}), "cose-shape"),
    "text": (cbor.dumps("abcd"), "cose-shape"),
    "three parts": (_message(head=b"\x83", signature=b""), "cose-shape"),
    "five parts": (_message(head=b"\x85") + b"\0", "cose-shape"),
    "other algorithm": (_message(protected=b"\x43\xa1\x01\x26"), "cose-protected"),
    "algorithm as text": (_message(protected=b"\x48\xa1\x01\x65ES384"), "cose-protected"),
    "further parameter": (_message(protected=b"\x46\xa2\x01\x38\x22\x04\0"), "cose-protected"),
    "protected null": (_message(protected=b"\xf6"), "cose-protected"),
    "protected empty": (_message(protected=b"\x40"), "cose-protected"),
    "protected a map": (_message(protected=b"\xa1\x01\x38\x22"), "cose-protected"),
    "unprotected key id": (_message(unprotected=b"\xa1\x04\x41\0"), "cose-unprotected"),
    "unprotected algorithm": (_message(unprotected=b"\xa1\x01\x26"), "cose-unprotected"),
    "unprotected null": (_message(unprotected=b"\xf6"), "cose-unprotected"),
    "unprotected array": (_message(unprotected=b"\x80"), "cose-unprotected"),
    "unprotected twice": (_message(unprotected=b"\xa2\x04\0\x04\0"), "cbor-duplicate"),
    "unprotected indefinite": (_message(unprotected=b"\xbf\xff"), "cbor-indefinite"),
    "payload length overlong": (
        _message(payload=b"\x59" + len(PAYLOAD).to_bytes(2, "big") + PAYLOAD),
        "cbor-overlong",
    ),
    "payload in pieces": (
        _message(payload=b"\x5f" + cbor.dumps(PAYLOAD[:3]) + cbor.dumps(PAYLOAD[3:]) + b"\xff"),
        "cbor-indefinite",
    ),
    "payload null": (_message(payload=b"\xf6"), "cose-payload"),
    "payload empty": (_message(payload=b"\x40"), "cose-payload"),
    "payload text": (_message(payload=cbor.dumps("text")), "cose-payload"),
    "payload too long": (_message(payload=cbor.dumps(bytes(LONG + 1))), "cose-payload"),
    "signature of 95": (_message(signature=cbor.dumps(SIGNATURE[1:])), "cose-signature-size"),
    "signature of 97": (_message(signature=cbor.dumps(b"\0" + SIGNATURE)), "cose-signature-size"),
    "signature null": (_message(signature=b"\xf6"), "cose-signature-size"),
    "signature text": (_message(signature=cbor.dumps("s" * 96)), "cose-signature-size"),
}


@pytest.mark.parametrize(("data", "code"), REFUSED.values(), ids=REFUSED)
def test_other_forms_are_refused(data, code):
    with pytest.raises(errors.FormatError) as caught:
        cose.parse(data)
    assert caught.value.code == code


def test_shortest_and_longest_payload_are_taken():
    assert cose.parse(_message(payload=b"\x41\x00")).payload == b"\0"
    assert len(cose.parse(_message(payload=cbor.dumps(bytes(LONG)))).payload) == LONG


def _halves(r, s):
    return r.to_bytes(48, "big") + s.to_bytes(48, "big")


R, S = int.from_bytes(SIGNATURE[:48], "big"), int.from_bytes(SIGNATURE[48:], "big")
BAD_SIGNATURES = {
    "all zero": bytes(96),
    "r zero": _halves(0, S),
    "s zero": _halves(R, 0),
    "r the order": _halves(ORDER, S),
    "s the order": _halves(R, ORDER),
    "all ones": b"\xff" * 96,
    "halves swapped": _halves(S, R),
    "one bit": bytes([SIGNATURE[0] ^ 1]) + SIGNATURE[1:],
}


@pytest.mark.parametrize("signature", BAD_SIGNATURES.values(), ids=BAD_SIGNATURES)
def test_bad_signatures_do_not_match(signature):
    with pytest.raises(errors.SignatureError) as caught:
        cose.verify(cose.Sign1(PAYLOAD, signature), KEY.public_key())
    assert caught.value.code == "cose-signature"


def test_high_s_is_taken_as_half_of_the_genuine_documents_have_it():
    cose.verify(cose.Sign1(PAYLOAD, _halves(R, ORDER - S)), KEY.public_key())
    assert max(S, ORDER - S) > ORDER // 2


def test_other_payload_key_or_hash_does_not_match():
    weak = _halves(*decode_dss_signature(KEY.sign(cose.to_be_signed(PAYLOAD), ec.ECDSA(SHA256()))))
    other = ec.generate_private_key(ec.SECP384R1())
    for message, key in (
        (cose.Sign1(PAYLOAD + b"!", SIGNATURE), KEY),
        (cose.Sign1(PAYLOAD, SIGNATURE), other),
        (cose.Sign1(PAYLOAD, weak), KEY),
    ):
        with pytest.raises(errors.SignatureError):
            cose.verify(message, key.public_key())


def test_signature_over_the_bare_payload_does_not_match():
    bare = _halves(*decode_dss_signature(KEY.sign(PAYLOAD, ec.ECDSA(SHA384()))))
    with pytest.raises(errors.SignatureError):
        cose.verify(cose.Sign1(PAYLOAD, bare), KEY.public_key())


@given(st.binary(max_size=200) | st.binary(max_size=200).map(lambda tail: MESSAGE[:9] + tail))
def test_any_bytes_are_a_message_or_a_format_error(data):
    try:
        found = cose.parse(data)
    except errors.FormatError:
        return
    assert cbor.dumps([cose.PROTECTED, {}, found.payload, found.signature]) == data


@given(st.binary(min_size=96, max_size=96))
def test_any_signature_matches_or_is_a_signature_error(signature):
    with pytest.raises(errors.SignatureError):
        cose.verify(cose.Sign1(PAYLOAD, signature), KEY.public_key())


@pytest.mark.corpus
def test_wycheproof(corpus, monkeypatch):
    # Its messages stand for themselves, so they take the place of the Sig_structure.
    monkeypatch.setattr(cose, "to_be_signed", lambda payload: payload)
    path = corpus / "wycheproof" / "ecdsa_secp384r1_sha384_p1363_test.json"
    table = json.loads(path.read_text())
    wrong, seen = [], {"valid": 0, "invalid": 0}
    for group in table["testGroups"]:
        key = load_der_public_key(bytes.fromhex(group["publicKeyDer"]))
        for case in group["tests"]:
            signature = bytes.fromhex(case["sig"])
            message = bytes.fromhex(case["msg"])
            try:
                # An empty payload is no document; the length rule of signatures is parse's.
                cose.parse(_message(signature=cbor.dumps(signature)))
                cose.verify(cose.Sign1(message, signature), key)
                found = "valid"
            except (errors.FormatError, errors.SignatureError):
                found = "invalid"
            seen[found] += 1
            if found != case["result"]:
                wrong.append((case["tcId"], case["comment"], found))
    assert wrong == []
    assert sum(seen.values()) == table["numberOfTests"]
    assert min(seen.values()) > 50

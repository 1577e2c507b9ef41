# SPDX-License-Identifier: Apache-2.0
"""Evidence that Oyster signed: each check refuses something that every other lets through."""

import base64
import hashlib
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_enclave import errors, statement, verification
from certbot_enclave.attestation import simulated
from certbot_enclave.attestation.chain import ChainCache
from certbot_enclave.policy import DAY, Policy
from tests.support import forge
from tests.support.forge import BANK, CHAIN, IMAGE_ID, NOW, PCRS, POLICY, STATEMENT

NONCE = bytes(range(16))
ZERO = bytes(48)
TEXT = statement.build(STATEMENT)
OTHER = ec.derive_private_key(7, ec.SECP256K1())
IMAGE = Policy(sets={}, images={"image": IMAGE_ID})
ASKED = {"domain": "example.com", "nonce": None, "now": NOW, "trust_root": CHAIN.root}
made = forge.oyster_evidence


def _verify(evidence, policy=IMAGE, **asked):
    return verification.verify(evidence, policy, **{**ASKED, **asked})


def _code(evidence, policy=IMAGE, **asked):
    with pytest.raises((errors.FormatError, errors.VerificationError)) as caught:
        _verify(evidence, policy, **asked)
    return caught.value.code


def test_evidence_that_passes_every_check():
    lines = []
    found = _verify(made(), progress=lines.append)
    assert (found.statement, found.domain) == (STATEMENT, STATEMENT.domains[0])
    assert (found.format, found.matched, found.simulated) == ("oyster-signed", "image", True)
    assert found.document.public_key == forge.oyster_key()
    assert len(lines) == 6


def test_it_is_said_that_it_is_weaker():
    found = _verify(made())
    assert found.not_checked == (*verification.NOT_CHECKED, verification.WEAKER)
    assert "the hardware vouches for that key, not for the statement" in found.not_checked[-1]
    nitro = verification.verify(forge.evidence(), POLICY, **ASKED)
    assert (nitro.format, nitro.not_checked) == ("aws-nitro", verification.NOT_CHECKED)


def _attested(**members):
    """Evidence with other members of ``attestation``; `...` leaves one out."""
    table = json.loads(made())
    changed = {**table["attestation"], **members}
    table["attestation"] = {name: value for name, value in changed.items() if value is not ...}
    return json.dumps(table).encode()


def _at(**delta):
    return {"timestamp": int((NOW + timedelta(**delta)).timestamp() * 1000)}


def _signed_by(key):
    document = simulated.sign(forge.payload(public_key=forge.oyster_key()), key)
    return statement.build_evidence(
        TEXT, document, forge.oyster_signature(statement.user_data(TEXT))
    )


def _key(key):
    return {"public_key": key}


ONES = base64.urlsafe_b64encode(b"\1" * 32).rstrip(b"=").decode()
OFF_CURVE = {"crv": "P-256", "kty": "EC", "x": ONES, "y": ONES}
SIGNATURE = forge.oyster_signature(statement.user_data(TEXT))
NITRO = json.loads(forge.evidence())["attestation"]

# Check -> (evidence, code): everything else about each holds.
ONLY = {
    "1 no signature": (_attested(signature=...), "evidence-format"),
    "1 signature, but nitro's format": (_attested(format="aws-nitro"), "evidence-format"),
    "1 nitro's document with a signature": (
        _attested(**NITRO, signature=base64.b64encode(SIGNATURE).decode()),
        "evidence-format",
    ),
    "1 statement": (made(text=TEXT.replace("/v1", "/v2", 1)), "statement-format"),
    "1 document tagged": (
        statement.build_evidence(
            TEXT, b"\xd2" + forge.document(public_key=forge.oyster_key()), SIGNATURE
        ),
        "cose-tagged",
    ),
    "2 another root": (made(forge.chain()), "chain-root"),
    "2 certificates over": (made(fields=_at(hours=-2)), "chain-not-yet-valid"),
    "3 another key": (_signed_by(forge.chain().keys[-1]), "cose-signature"),
    "4 another instance": (made(fields={"pcrs": {**BANK, 4: ZERO}}), "document-instance"),
    "5 future": (made(fields=_at(seconds=61), issued_at=NOW), "future"),
    "8 debug": (made(fields={"pcrs": {**BANK, 1: ZERO}}), "debug"),
    "9 another PCR0": (made(fields={"pcrs": {**BANK, 0: PCRS[1]}}), "pcr-mismatch"),
    "9 another PCR2": (made(fields={"pcrs": {**BANK, 2: PCRS[1]}}), "pcr-mismatch"),
    "9 parameters": (made(fields={"pcrs": {**BANK, 16: PCRS[1]}}), "pcr-mismatch"),
    "9 PCR17": (made(fields={"pcrs": {**BANK, 17: PCRS[1]}}), "pcr-extra"),
    "9 PCR31, though zero": (made(fields={"pcrs": {**BANK, 31: ZERO}}), "pcr-extra"),
    "10 another statement": (made(signed="{}"), "oyster-signature"),
    "10 a nonce that nobody asked for": (made(nonce=NONCE), "oyster-signature"),
    "10 another key": (made(key=OTHER), "oyster-signature"),
    "10 another document's key": (made(fields=_key(forge.oyster_key(OTHER))), "oyster-signature"),
    "10 signature short": (made(signature=SIGNATURE[:-1]), "oyster-signature-size"),
    "10 signature long": (made(signature=SIGNATURE + b"\0"), "oyster-signature-size"),
    "10 signature empty": (made(signature=b""), "oyster-signature-size"),
    "10 no key": (made(fields=_key(None)), "oyster-key"),
    "10 key of 32 bytes": (made(fields=_key(bytes(range(32)))), "oyster-key"),
    "10 key of 65 bytes": (made(fields=_key(b"\4" + forge.oyster_key())), "oyster-key"),
    "10 key of 91 bytes": (made(fields=_key(forge.spki(forge.ACCOUNT))), "oyster-key"),
    "10 key off the curve": (made(fields=_key(b"\1" * 64)), "oyster-key"),
    "11 off the curve": (made(account_key=OFF_CURVE), "account-key"),
    "11 thumbprint": (made(thumbprint=ONES), "thumbprint"),
    "11 PCR": (made(settings={"bind_pcr": "17"}), "account-pcr"),
    "12 said too early": (made(issued_at=NOW - timedelta(seconds=301)), "issued-at"),
    "12 said too late": (made(issued_at=NOW + timedelta(seconds=301)), "issued-at"),
    "13 directory": (made(directory="https://ca.example/directory"), "directory-unknown"),
    "14 condition": (made(conditions=("zone-unsigned",)), "condition"),
    "16 setting": (made(settings={"allow_unsigned_zone": True}), "setting"),
    "17 no domain": (made(domains=()), "domain"),
}


@pytest.mark.parametrize(("evidence", "code"), ONLY.values(), ids=ONLY)
def test_only_this_check_refuses(evidence, code):
    assert _code(evidence) == code


# --- 6, 7, 10: freshness, and the nonce that is signed ---


def test_stale():
    assert _verify(made(), now=NOW + timedelta(seconds=DAY))
    assert _code(made(), now=NOW + timedelta(seconds=DAY + 1)) == "stale"


ASKED_FOR = made(nonce=NONCE)


def test_five_minutes_with_a_nonce():
    late = NOW + timedelta(minutes=5, seconds=1)
    assert _verify(ASKED_FOR, nonce=NONCE, now=NOW + timedelta(minutes=5))
    assert _code(ASKED_FOR, nonce=NONCE, now=late) == "stale"


def test_nonce_is_what_was_signed_and_not_what_the_document_has():
    # Oyster's documents carry none; what stood there would be of another's choice.
    lines = []
    assert _verify(ASKED_FOR, nonce=NONCE, progress=lines.append).document.nonce is None
    assert "answer the nonce" in lines[3]
    assert _verify(made(fields={"nonce": b"x" * 16}))
    in_document = made(fields={"nonce": NONCE})
    assert _code(in_document, nonce=NONCE) == "oyster-signature"


NONCES = {
    "another": (NONCE[::-1], NONCE),
    "prefix": (NONCE + b"\0", NONCE),
    "not signed": (NONCE, b""),
    "not asked for": (None, NONCE),
}


@pytest.mark.parametrize(("asked", "signed"), NONCES.values(), ids=NONCES)
def test_nonce_must_be_the_one_that_was_asked_for(asked, signed):
    assert _code(made(nonce=signed), nonce=asked) == "oyster-signature"


@pytest.mark.parametrize("size", [16, 64])
def test_bounds_of_a_nonce(size):
    assert _verify(made(nonce=bytes(size)), nonce=bytes(size))


# --- 9: the image id ---


def _id(pcr16):
    return hashlib.sha256(b"\0\1\0\7" + b"".join(PCRS.values()) + pcr16).digest()


TAGGED = {"pcrs": {**BANK, 16: PCRS[1]}}


def test_pcr_sets_alone_do_not_name_what_oyster_runs():
    """They leave out PCR16, and with it whatever the host gave the image to run."""
    assert _code(made(), POLICY) == "image-id-missing"
    assert _code(made(fields=TAGGED), Policy(sets={"x": {**PCRS, 16: PCRS[1]}})) == (
        "image-id-missing"
    )


def test_sets_beside_an_image_id_do_not_count_for_oyster():
    both = Policy(sets={"set": PCRS}, images={"other": _id(PCRS[1])})
    assert _code(made(), both) == "pcr-mismatch"
    assert _verify(made(fields=TAGGED), both).matched == "other"


def test_of_two_image_ids_either_may_match():
    both = Policy(sets={}, images={"bare": IMAGE_ID, "with parameters": _id(PCRS[1])})
    assert _verify(made(), both).matched == "bare"
    assert _verify(made(fields=TAGGED), both).matched == "with parameters"
    assert _code(made(fields={"pcrs": {**BANK, 16: PCRS[0]}}), both) == "pcr-mismatch"


def test_image_id_is_a_policy_for_documents_of_nitro_too():
    policy = Policy(sets={"set": {**PCRS, 0: PCRS[1]}}, images={"oyster": _id(PCRS[1])})
    assert verification.verify(forge.evidence(fields=TAGGED), policy, **ASKED).matched == "oyster"
    assert _code(forge.evidence(), policy) == "pcr-mismatch"


# --- another format of the same document ---


def test_documents_of_one_format_are_not_evidence_of_the_other():
    bound = forge.document(user_data=statement.user_data(TEXT))
    assert _code(statement.build_evidence(TEXT, bound, SIGNATURE)) == "oyster-key"
    oyster = forge.document(public_key=forge.oyster_key(), user_data=b"")
    assert _code(statement.build_evidence(TEXT, oyster)) == "statement-unbound"
    # A key that stands for both is no point of P-256 in the form that the statement needs.
    both = forge.document(public_key=forge.oyster_key(), user_data=statement.user_data(TEXT))
    assert _code(statement.build_evidence(TEXT, both)) == "account-key-unbound"


# --- a cache for bulk work ---


def _outcome(evidence, policy, **asked):
    try:
        return _verify(evidence, policy, **asked)
    except (errors.FormatError, errors.VerificationError) as error:
        return error.code


def test_cache_changes_no_result():
    cache = ChainCache()
    todo = [(evidence, IMAGE) for evidence, _ in ONLY.values()]
    todo += [(made(), IMAGE), (forge.evidence(), POLICY), (forge.evidence(), IMAGE)]
    for _ in range(2):  # the second time, its issuers are known
        for evidence, policy in todo:
            assert _outcome(evidence, policy, cache=cache) == _outcome(evidence, policy)


def test_cache_of_one_root_does_not_speak_for_another():
    cache = ChainCache()
    assert _verify(made(), cache=cache)
    assert _outcome(made(), IMAGE, cache=cache, trust_root=forge.chain().root) == "chain-root"
    assert _outcome(made(), IMAGE, cache=cache, trust_root=None) == "chain-root"


def test_cache_is_used():
    cache = ChainCache()
    for _ in range(2):
        _verify(made(), cache=cache)
        verification.verify(forge.evidence(), POLICY, **ASKED, cache=cache)
    assert len(cache) == 1

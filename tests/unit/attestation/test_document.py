# SPDX-License-Identifier: Apache-2.0
"""A document is read by one rule per field, and proves who signed it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.attestation import cbor, cose, document
from certbot_enclave.attestation.simulated import sign
from tests.support import forge
from tests.support.forge import BANK, CHAIN, INSTANCE, MODULE, NOW, PCRS

ZERO = bytes(48)


def _authenticate(data, root=CHAIN.root):
    return document.authenticate(data, trust_root=root)


def test_content():
    found = document.parse(forge.payload(user_data=b"u", nonce=b""))
    assert found == document.Document(
        module_id=MODULE,
        timestamp_ms=int(NOW.timestamp()) * 1000,
        pcrs=BANK,
        certificate=CHAIN.leaf,
        cabundle=tuple(CHAIN.bundle),
        public_key=forge.spki(forge.ACCOUNT),
        user_data=b"u",
        nonce=b"",
        absent=(),
        not_understood=(),
    )
    assert (found.time, found.instance_id, found.debug) == (NOW, INSTANCE, False)
    with pytest.raises(TypeError):
        found.pcrs[0] = ZERO


def test_time_keeps_milliseconds():
    found = document.parse(forge.payload(timestamp=1_772_625_600_123))
    assert found.time == datetime(2026, 3, 4, 12, 0, 0, 123000, UTC)


def test_definite_map_as_before_2025_08():
    payload = cbor.dumps(forge.content())
    assert payload[0] == 0xA9
    assert _authenticate(sign(payload, CHAIN.keys[-1])).module_id == MODULE


@pytest.mark.parametrize("field", ["public_key", "user_data", "nonce"])
def test_null_absent_and_empty_are_kept_apart(field):
    for value, expected in ((None, None), (..., None), (b"", b""), (bytes(1024), bytes(1024))):
        found = document.parse(forge.payload(**{field: value}))
        assert getattr(found, field) == expected
        assert found.absent == ((field,) if value is ... else ())


@pytest.mark.parametrize("index", [0, 1, 2])
def test_any_of_the_first_three_zero_is_debug(index):
    found = document.parse(forge.payload(pcrs={**BANK, index: ZERO}))
    assert found.debug
    assert found.pcrs[4] != ZERO


def test_unknown_fields_are_reported():
    found = document.parse(forge.payload(zeta=1, alpha=[b""]))
    assert found.not_understood == ("alpha", "zeta")


def _without(table, *keys):
    return {key: value for key, value in table.items() if key not in keys}


MANY = dict.fromkeys(range(32), ZERO)
REQUIRED = ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    **{f"{name} missing": ({name: ...}, "document-missing") for name in REQUIRED},
    "NitroTPM": ({"nitrotpm_pcrs": PCRS}, "document-nitrotpm"),
    "NitroTPM without pcrs": ({"nitrotpm_pcrs": PCRS, "pcrs": ...}, "document-nitrotpm"),
    "module id null": ({"module_id": None}, "document-module_id"),
    "module id bytes": ({"module_id": b"i-1-enc1"}, "document-module_id"),
    "module id empty": ({"module_id": ""}, "document-module_id"),
    "module id long": ({"module_id": "i-enc" + "1" * 251}, "document-module_id"),
    "module id without enclave": ({"module_id": INSTANCE}, "document-module_id"),
    "module id without instance": ({"module_id": "-enc01"}, "document-module_id"),
    "module id without number": ({"module_id": "i-1-enc"}, "document-module_id"),
    "module id with control": ({"module_id": "i-1-enc\x1b[m"}, "document-module_id"),
    "module id with line": ({"module_id": "i-1-enc1\n"}, "document-module_id"),
    "digest other": ({"digest": "SHA512"}, "document-digest"),
    "digest lower case": ({"digest": "sha384"}, "document-digest"),
    "digest null": ({"digest": None}, "document-digest"),
    "time zero": ({"timestamp": 0}, "document-timestamp"),
    "time negative": ({"timestamp": -1}, "document-timestamp"),
    "time far": ({"timestamp": 1 << 43}, "document-timestamp"),
    "time text": ({"timestamp": "1772625600000"}, "document-timestamp"),
    "time null": ({"timestamp": None}, "document-timestamp"),
    "certificate null": ({"certificate": None}, "document-certificate"),
    "certificate empty": ({"certificate": b""}, "document-certificate"),
    "certificate long": ({"certificate": bytes(1025)}, "document-certificate"),
    "certificate text": ({"certificate": "MII"}, "document-certificate"),
    "bundle null": ({"cabundle": None}, "document-cabundle"),
    "bundle empty": ({"cabundle": []}, "document-cabundle"),
    "bundle of nine": ({"cabundle": [CHAIN.root] * 9}, "document-cabundle"),
    "bundle map": ({"cabundle": {0: CHAIN.root}}, "document-cabundle"),
    "bundle with empty": ({"cabundle": [CHAIN.root, b""]}, "document-cabundle"),
    "bundle with long": ({"cabundle": [bytes(1025)]}, "document-cabundle"),
    "bundle with null": ({"cabundle": [CHAIN.root, None]}, "document-cabundle"),
    "PCRs null": ({"pcrs": None}, "document-pcrs"),
    "PCRs array": ({"pcrs": [ZERO] * 16}, "document-pcrs"),
    "PCRs empty": ({"pcrs": {}}, "document-pcrs"),
    "PCR 32 in place of 31": ({"pcrs": {**_without(MANY, 31), 32: ZERO}}, "document-pcrs"),
    "33 PCRs": ({"pcrs": {**MANY, 32: ZERO}}, "document-pcrs"),
    "PCR below zero": ({"pcrs": {**BANK, -1: ZERO}}, "document-pcrs"),
    "PCR by name": ({"pcrs": {"3": ZERO} | BANK}, "document-pcrs"),
    "PCR short": ({"pcrs": {**BANK, 3: ZERO[1:]}}, "document-pcrs"),
    "PCR long": ({"pcrs": {**BANK, 3: ZERO + b"\0"}}, "document-pcrs"),
    "PCR null": ({"pcrs": {**BANK, 3: None}}, "document-pcrs"),
    **{f"no PCR{gone}": ({"pcrs": _without(MANY, gone)}, "document-pcrs") for gone in range(16)},
    **{
        f"{field} {what}": ({field: value}, f"document-{field}")
        for field in ("public_key", "user_data", "nonce")
        for what, value in (("long", bytes(1025)), ("text", "a"), ("number", 0))
    },
}


@pytest.mark.parametrize(("changes", "code"), REFUSED.values(), ids=REFUSED)
def test_field_that_breaks_its_rule(changes, code):
    with pytest.raises(errors.FormatError) as caught:
        document.parse(forge.payload(**changes))
    assert caught.value.code == code


NO_MAP = {
    "array": cbor.dumps([]),
    "null": cbor.dumps(None),
    "key is a number": cbor.dumps({**forge.content(), 1: 2}),
}


@pytest.mark.parametrize("payload", NO_MAP.values(), ids=NO_MAP)
def test_payload_that_is_no_map_with_text_keys(payload):
    with pytest.raises(errors.FormatError) as caught:
        document.parse(payload)
    assert caught.value.code == "document-payload"


EDGES = {
    "32 PCRs": {"pcrs": {**MANY, **PCRS}},
    "16 PCRs": {"pcrs": BANK},
    "17 PCRs": {"pcrs": {**BANK, 29: ZERO}},
    "longest module id": {"module_id": "i-enc" + "1" * 250},
    "last time": {"timestamp": (1 << 43) - 1},
    "first time": {"timestamp": 1},
    "greatest certificate": {"certificate": bytes(1024)},
    "least bundle": {"cabundle": [b"\0"]},
    "greatest bundle": {"cabundle": [bytes(1024)] * 8},
}


@pytest.mark.parametrize("changes", EDGES.values(), ids=EDGES)
def test_edges_are_inside(changes):
    found = document.parse(forge.payload(**changes))
    for name, value in changes.items():
        if name != "timestamp":
            value = tuple(value) if isinstance(value, list) else value
            assert getattr(found, name) == value


def test_authentic():
    found = _authenticate(forge.document(nonce=b"n" * 16))
    assert (found.module_id, found.nonce) == (MODULE, b"n" * 16)


def test_chain_is_followed_at_the_documents_own_time():
    late = NOW + timedelta(hours=4)
    with pytest.raises(errors.ChainError) as caught:
        _authenticate(forge.document(timestamp=int(late.timestamp() * 1000)))
    assert caught.value.code == "chain-expired"


def test_named_root_is_the_only_one():
    data = forge.document()
    for root in (None, forge.chain().root):
        with pytest.raises(errors.ChainError) as caught:
            _authenticate(data, root)
        assert caught.value.code == "chain-root"


def test_leafs_key_must_have_signed():
    data = sign(forge.payload(), forge.chain().keys[-1])
    with pytest.raises(errors.SignatureError) as caught:
        _authenticate(data)
    assert caught.value.code == "cose-signature"


def test_signature_counts_only_when_the_chain_holds():
    # A peer checks a stranger's signature with a key it never judged, and panics on P-521.
    with pytest.raises(errors.ChainError):
        _authenticate(cbor.dumps([cose.PROTECTED, {}, forge.payload(), bytes(96)]), None)


def test_pcr4_of_another_instance():
    with pytest.raises(errors.BindingError) as caught:
        _authenticate(forge.document(pcrs={**BANK, 4: ZERO}))
    assert caught.value.code == "document-instance"


LEAVES = {
    "another enclave of the instance": f"{INSTANCE}-enc9.test-1.aws",
    "only the beginning": f"{MODULE}0.test-1.aws",
    "without a region": MODULE,
    "nobody": "somebody.else",
    "two": f"{MODULE}.test-1.aws,{MODULE}.test-1.aws",
}


@pytest.mark.parametrize("name", LEAVES.values(), ids=LEAVES)
def test_leaf_that_is_named_after_another(name):
    made = forge.chain(leaf={"name": name})
    with pytest.raises(errors.BindingError) as caught:
        _authenticate(forge.document(made), made.root)
    assert caught.value.code == "document-leaf"


PAYLOAD = forge.payload()


@given(st.binary(max_size=300))
def test_any_bytes_are_a_document_or_an_error_of_ours(data):
    with pytest.raises(errors.Error):
        _authenticate(data)


@given(st.integers(0, len(PAYLOAD) - 1), st.integers(1, 255))
def test_any_changed_byte_of_a_signed_payload_is_refused(at, change):
    data = bytearray(PAYLOAD)
    data[at] ^= change
    signature = cose.parse(SIGNED).signature
    with pytest.raises((errors.FormatError, errors.VerificationError)):
        _authenticate(cbor.dumps([cose.PROTECTED, {}, bytes(data), signature]))


SIGNED = sign(PAYLOAD, CHAIN.keys[-1])


@given(st.integers(0, len(PAYLOAD) - 1), st.integers(1, 255))
def test_any_changed_byte_that_is_signed_again_is_a_document_or_an_error_of_ours(at, change):
    # A hostile holder of a leaf key: whatever it signs must be judged, not crash the verifier.
    data = bytearray(PAYLOAD)
    data[at] ^= change
    try:
        found = _authenticate(sign(bytes(data), CHAIN.keys[-1]))
    except (errors.FormatError, errors.VerificationError):
        return
    assert found.certificate == CHAIN.leaf

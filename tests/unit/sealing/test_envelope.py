# SPDX-License-Identifier: Apache-2.0
"""Envelopes open for the right kind and sealer only, and every byte of them counts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.sealing import envelope
from tests.support.components import MemorySealer

FIELDS: dict[str, str | int] = {"bundle_id": "ab", "generation": 3}
SEALER = MemorySealer()
SEALED = envelope.seal(b"secret", kind="bundle", fields=FIELDS, sealer=SEALER)
START = len(envelope.MAGIC) + 4


def _open(data, kind="bundle", sealer=SEALER):
    return envelope.unseal(envelope.parse(data), kind=kind, sealer=sealer)


def _with_header(change):
    header = json.loads(envelope.parse(SEALED).associated[START:])
    text = change if isinstance(change, bytes) else json.dumps({**header, **change}).encode()
    parsed = envelope.parse(SEALED)
    return envelope.MAGIC + len(text).to_bytes(4, "big") + text + parsed.ciphertext


def _twice():
    return envelope.parse(SEALED).associated[START:].replace(b"{", b'{"kind":"bundle",', 1)


def test_round_trip():
    assert _open(SEALED) == b"secret"
    assert envelope.parse(SEALED).fields == FIELDS
    assert b"secret" not in SEALED


def test_other_version_says_which_software_reads_it():
    with pytest.raises(errors.FormatError) as caught:
        envelope.parse(SEALED.replace(b"sealed-v1", b"sealed-v2", 1))
    assert caught.value.code == "envelope-version"


def test_other_kind_is_refused():
    with pytest.raises(errors.SealError) as caught:
        _open(SEALED, kind="account-key")
    assert caught.value.code == "envelope-kind"


def test_other_sealer_is_refused():
    with pytest.raises(errors.SealError) as caught:
        _open(SEALED, sealer=MemorySealer("other"))
    assert caught.value.code == "sealer-mismatch"


def test_changed_ciphertext_is_refused():
    with pytest.raises(errors.SealError) as caught:
        _open(SEALED[:-1] + bytes([SEALED[-1] ^ 1]))
    assert caught.value.code == "envelope-forged"


def test_changed_nonce_in_the_header_is_refused():
    with pytest.raises(errors.SealError) as caught:
        _open(_with_header({"nonce": "A" * 16}))
    assert caught.value.code == "envelope-forged"


def test_changed_fields_reach_the_sealer_as_another_context():
    with pytest.raises(errors.SealError) as caught:
        _open(_with_header({"fields": {**FIELDS, "generation": 4}}))
    assert caught.value.code == "sealed-elsewhere"


def test_short_data_key_is_refused():
    class Short(MemorySealer):
        def unwrap(self, wrapped, context):
            return b"short"

    with pytest.raises(errors.SealError) as caught:
        _open(SEALED, sealer=Short())
    assert caught.value.code == "sealer-broken"


MALFORMED = {
    "empty": (b"", "envelope-format"),
    "other magic": (b"x" + SEALED[1:], "envelope-format"),
    "magic alone": (SEALED[:START], "envelope-format"),
    "too large": (SEALED + bytes(envelope.MAX_ENVELOPE), "envelope-format"),
    "header cut": (SEALED[: START + 20], "envelope-truncated"),
    "no tag": (SEALED[: START + 20 + 15], "envelope-truncated"),
    "header too long": (
        envelope.MAGIC + (envelope.MAX_HEADER + 1).to_bytes(4, "big") + bytes(40000),
        "envelope-truncated",
    ),
    "header no JSON": (_with_header(b"{"), "envelope-header"),
    "header no UTF-8": (_with_header(b"\xff"), "envelope-header"),
    "header a list": (_with_header(b"[]"), "envelope-header"),
    "header deep": (_with_header(b"[" * 16000), "envelope-header"),
    "member twice": (_with_header(_twice()), "envelope-header"),
    "member more": (_with_header({"more": 1}), "envelope-header"),
    "fields text": (_with_header({"fields": ""}), "envelope-header"),
    "field list": (_with_header({"fields": {"a": []}}), "envelope-header"),
    "field switch": (_with_header({"fields": {"a": True}}), "envelope-header"),
    "kind number": (_with_header({"kind": 1}), "envelope-header"),
    "nonce short": (_with_header({"nonce": "AAAA"}), "envelope-header"),
    "nonce no base64": (_with_header({"nonce": "!"}), "envelope-header"),
    "wrapped number": (_with_header({"wrapped": 1}), "envelope-header"),
}


@pytest.mark.parametrize(("data", "code"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(data, code):
    with pytest.raises(errors.FormatError) as caught:
        envelope.parse(data)
    assert caught.value.code == code


def _seal(size, sealer=SEALER):
    return envelope.seal(bytes(size), kind="bundle", fields=FIELDS, sealer=sealer)


def test_what_could_not_be_opened_is_not_made():
    room = envelope.MAX_ENVELOPE - len(_seal(0))
    assert len(_open(_seal(room))) == room
    with pytest.raises(errors.SealError) as caught:
        _seal(room + 1)
    assert caught.value.code == "envelope-too-large"


def test_header_that_could_not_be_read_is_not_made():
    class Verbose(MemorySealer):
        def wrap(self, data_key, context):
            return super().wrap(data_key, context) + bytes(envelope.MAX_HEADER)

    with pytest.raises(errors.SealError) as caught:
        _seal(1, Verbose())
    assert caught.value.code == "envelope-too-large"


@given(st.integers(0, len(SEALED) * 8 - 1))
def test_every_bit_counts(bit):
    data = bytearray(SEALED)
    data[bit // 8] ^= 1 << bit % 8
    with pytest.raises((errors.FormatError, errors.SealError)):
        _open(bytes(data))


@given(st.binary())
def test_any_bytes_are_a_value_or_a_format_error(data):
    with pytest.raises(errors.FormatError):
        envelope.parse(envelope.MAGIC + data[:64])

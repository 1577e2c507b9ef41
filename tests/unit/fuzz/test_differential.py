# SPDX-License-Identifier: Apache-2.0
"""Our reader of CBOR and cbor2 are compared so that a fault in ours is noticed."""

import cbor2
import pytest

from certbot_enclave import errors
from certbot_enclave.attestation import cbor
from tests.fuzz import differential
from tests.fuzz.differential import Disagreement

AGREED = {
    "cbor-trailing": "0000",
    "cbor-overlong": "1800",
    "cbor-indefinite": "9fff",
    "cbor-duplicate": "a201000100",
    "cbor-type": "c24101",
    "cbor-key": "a1410000",
    "cbor-size": "990101" + "00" * 257,
    "cbor-depth": "818181818100",
    "cbor-truncated": "4401",
    "cbor-text": "61ff",
}


@pytest.mark.parametrize(("code", "text"), AGREED.items(), ids=AGREED)
def test_refusal_that_is_right_stands(code, text):
    with pytest.raises(errors.FormatError) as caught:
        differential.judge(bytes.fromhex(text))
    assert caught.value.code == code


@pytest.mark.parametrize("text", ["00", "a2010203a2040506f6", "bf0102ff", "8203f6"])
def test_values_are_accepted_in_the_mode_of_documents(text):
    differential.judge(bytes.fromhex(text))


@pytest.mark.parametrize("code", AGREED)
def test_every_other_reason_would_be_wrong(monkeypatch, code):
    def refuse(_data, **_options):
        raise errors.FormatError("no", code=code)

    monkeypatch.setattr(cbor, "loads", refuse)
    for other, text in AGREED.items():
        data = bytes.fromhex(text)
        read_by_cbor2 = other in differential.FAULTS
        if code == other or (not read_by_cbor2 and code != "cbor-trailing"):
            with pytest.raises(errors.FormatError):
                differential.compare(data)
        elif (code, other) not in ALIKE:
            with pytest.raises(Disagreement):
                differential.compare(data)


# A key that is there twice hides one of its values from cbor2, so any fault might be in that.
# What is of indefinite length is, to cbor2, not written in the shortest form.
ALIKE = {
    *((code, "cbor-duplicate") for code in differential.FAULTS),
    ("cbor-overlong", "cbor-indefinite"),
}


def _lenient(data, *, indefinite_map=False, booleans=False):
    return cbor2.loads(data)


def _narrow(data, **options):
    if data == b"\xf6":
        raise errors.FormatError("no null", code="cbor-type")
    return LOADS(data, **options)


def _mistyped(data, **options):
    value = LOADS(data, **options)
    return True if value == 1 and type(value) is int else value


LOADS = cbor.loads
FORM = "accepted in a form"
WRONG = {
    "accepts an overlong number": (_lenient, "1800", FORM),
    "accepts an indefinite array": (_lenient, "9fff", FORM),
    "accepts a chunked string": (_lenient, "5f4101ff", FORM),
    "accepts a key twice": (_lenient, "a201000100", FORM),
    "accepts bytes behind the end": (_lenient, "0000", "only ours accepts"),
    "accepts a tag": (_lenient, "c24101", "cbor2's is"),
    "refuses null": (_narrow, "f6", "only ours finds the fault cbor-type"),
    "reads another type": (_mistyped, "01", "cbor2's is 1"),
}
FALSE = {"booleans": False, "indefinite_map": False}
MODES = ({}, {"booleans": True}, {"indefinite_map": True})


@pytest.mark.parametrize("options", MODES, ids=["strict", "booleans", "indefinite map"])
@pytest.mark.parametrize(("loads", "text", "words"), WRONG.values(), ids=WRONG)
def test_reader_that_is_wrong_is_noticed_in_every_mode(monkeypatch, loads, text, words, options):
    monkeypatch.setattr(cbor, "loads", loads)
    with pytest.raises(Disagreement, match=words):
        differential.compare(bytes.fromhex(text), **options)


@pytest.mark.parametrize("mode", MODES[1:], ids=["booleans", "indefinite map"])
def test_every_mode_is_tried(monkeypatch, mode):
    def loads(data, **options):
        return 0 if options.items() >= mode.items() else LOADS(data, **options)

    monkeypatch.setattr(cbor, "loads", lambda data, **options: loads(data, **{**FALSE, **options}))
    with pytest.raises(Disagreement):
        differential.judge(b"\x01")


def test_reader_that_accepts_what_is_none_is_noticed(monkeypatch):
    monkeypatch.setattr(cbor, "loads", lambda _data, **_options: 0)
    for text in ("", "61ff", "1c", "ff"):
        with pytest.raises(Disagreement, match="only ours accepts"):
            differential.judge(bytes.fromhex(text))


def test_trailing_bytes_need_something_before_them(monkeypatch):
    def refuse(_data, **_options):
        raise errors.FormatError("no", code="cbor-trailing")

    monkeypatch.setattr(cbor, "loads", refuse)
    with pytest.raises(Disagreement, match="only ours finds an item"):
        differential.judge(b"\xff")

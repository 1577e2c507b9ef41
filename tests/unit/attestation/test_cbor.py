# SPDX-License-Identifier: Apache-2.0
"""CBOR has one form here: what can be written is read back, anything else is a FormatError."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.attestation import cbor

# RFC 8949, appendix A, as far as the six types go; and the edges of every length.
READ = {
    "zero": ("00", 0),
    "inline": ("17", 23),
    "one byte": ("1818", 24),
    "one byte, all": ("18ff", 255),
    "two bytes": ("190100", 256),
    "two bytes, all": ("19ffff", 65535),
    "four bytes": ("1a00010000", 65536),
    "four bytes, all": ("1affffffff", (1 << 32) - 1),
    "eight bytes": ("1b0000000100000000", 1 << 32),
    "eight bytes, all": ("1bffffffffffffffff", (1 << 64) - 1),
    "minus one": ("20", -1),
    "minus 35": ("3822", -35),
    "least": ("3bffffffffffffffff", -(1 << 64)),
    "no bytes": ("40", b""),
    "bytes": ("4401020304", b"\1\2\3\4"),
    "no text": ("60", ""),
    "text": ("62c3bc", "ü"),
    "astral text": ("64f0908591", "\U00010151"),
    "null": ("f6", None),
    "no array": ("80", []),
    "array": ("8301820203f6", [1, [2, 3], None]),
    "no map": ("a0", {}),
    "map": ("a2016161616202", {1: "a", "b": 2}),
    "as deep as allowed": ("8181818100", [[[[0]]]]),
}


@pytest.mark.parametrize(("text", "value"), READ.values(), ids=READ)
def test_reads_and_writes(text, value):
    data = bytes.fromhex(text)
    found = cbor.loads(data)
    assert (found, type(found)) == (value, type(value))
    assert cbor.dumps(value) == data


MAXIMAL = cbor.dumps({index: 0 for index in range(cbor.MAX_ITEMS)})
REFUSED = {
    "nothing": ("", "cbor-truncated"),
    "length cut": ("19ff", "cbor-truncated"),
    "bytes cut": ("4401", "cbor-truncated"),
    "text cut": ("6261", "cbor-truncated"),
    "array cut": ("8201", "cbor-truncated"),
    "key without value": ("a101", "cbor-truncated"),
    "huge length": ("5bffffffffffffffff", "cbor-truncated"),
    "indefinite bytes": ("5f4101ff", "cbor-indefinite"),
    "indefinite text": ("7f6161ff", "cbor-indefinite"),
    "indefinite array": ("9f01ff", "cbor-indefinite"),
    "indefinite map": ("bf0102ff", "cbor-indefinite"),
    "indefinite map inside": ("81bfff", "cbor-indefinite"),
    "reserved 28": ("1c", "cbor-indefinite"),
    "reserved 30": ("5e", "cbor-indefinite"),
    "overlong in one byte": ("1817", "cbor-overlong"),
    "overlong in two bytes": ("1900ff", "cbor-overlong"),
    "overlong in four bytes": ("1a0000ffff", "cbor-overlong"),
    "overlong in eight bytes": ("1b00000000ffffffff", "cbor-overlong"),
    "overlong negative": ("3800", "cbor-overlong"),
    "overlong length": ("580101", "cbor-overlong"),
    "overlong count": ("980100", "cbor-overlong"),
    "too deep": ("818181818100", "cbor-depth"),
    "too deep in maps": ("a100a100a100a100a10000", "cbor-depth"),
    "no UTF-8": ("61ff", "cbor-text"),
    "surrogate": ("63eda080", "cbor-text"),
    "overlong UTF-8": ("62c080", "cbor-text"),
    "too many items": ("990101" + "00" * 257, "cbor-size"),
    "too many pairs": ("b90101", "cbor-size"),
    "bytes as key": ("a1410000", "cbor-key"),
    "null as key": ("a1f600", "cbor-key"),
    "array as key": ("a18000", "cbor-key"),
    "map as key": ("a1a000", "cbor-key"),
    "key twice": ("a201000100", "cbor-duplicate"),
    "text key twice": ("a2616100616100", "cbor-duplicate"),
    "key twice inside": ("81a201000100", "cbor-duplicate"),
    "tag": ("c000", "cbor-type"),
    "bignum": ("c24101", "cbor-type"),
    "self-described": ("d9d9f700", "cbor-type"),
    "false": ("f4", "cbor-type"),
    "true": ("f5", "cbor-type"),
    "true as key": ("a1f500", "cbor-type"),
    "undefined": ("f7", "cbor-type"),
    "null in two bytes": ("f8f6", "cbor-type"),
    "half float": ("f93c00", "cbor-type"),
    "double": ("fb3ff0000000000000", "cbor-type"),
    "break alone": ("ff", "cbor-type"),
    "break in map": ("a1ff", "cbor-type"),
    "break in array": ("81ff", "cbor-type"),
    "behind the end": ("0000", "cbor-trailing"),
    "behind an array": ("8000", "cbor-trailing"),
}


@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED)
def test_refuses(text, code):
    with pytest.raises(errors.FormatError) as caught:
        cbor.loads(bytes.fromhex(text))
    assert caught.value.code == code


def test_no_more_than_the_greatest_size_is_read():
    data = b"\x59\xff\xfd" + bytes(0xFFFD)
    assert len(data) == cbor.MAX_BYTES
    assert cbor.loads(data) == bytes(0xFFFD)
    with pytest.raises(errors.FormatError) as caught:
        cbor.loads(data + b"\0")
    assert caught.value.code == "cbor-size"


def test_as_many_items_as_allowed():
    assert len(cbor.loads(MAXIMAL)) == cbor.MAX_ITEMS
    assert cbor.loads(cbor.dumps([0] * cbor.MAX_ITEMS)) == [0] * cbor.MAX_ITEMS


INDEFINITE = {
    "empty": ("bfff", {}),
    "pairs": ("bf0102036161ff", {1: 2, 3: "a"}),
    "definite all the same": ("a10102", {1: 2}),
    "no map at all": ("07", 7),
    "as many as allowed": (b"\xbf".hex() + MAXIMAL[3:].hex() + "ff", cbor.loads(MAXIMAL)),
}


@pytest.mark.parametrize(("text", "value"), INDEFINITE.values(), ids=INDEFINITE)
def test_outermost_map_may_be_indefinite_where_asked_for(text, value):
    assert cbor.loads(bytes.fromhex(text), indefinite_map=True) == value


INDEFINITE_REFUSED = {
    "no break": ("bf0102", "cbor-truncated"),
    "break after a key": ("bf01ff", "cbor-type"),
    "inside another": ("bf01bfffff", "cbor-indefinite"),
    "array inside": ("bf019fffff", "cbor-indefinite"),
    "key twice": ("bf01000100ff", "cbor-duplicate"),
    "behind the break": ("bfff00", "cbor-trailing"),
    "one pair too many": ("bf" + MAXIMAL[3:].hex() + "19010000ff", "cbor-size"),
}


@pytest.mark.parametrize(("text", "code"), INDEFINITE_REFUSED.values(), ids=INDEFINITE_REFUSED)
def test_indefinite_map_refuses(text, code):
    with pytest.raises(errors.FormatError) as caught:
        cbor.loads(bytes.fromhex(text), indefinite_map=True)
    assert caught.value.code == code


@pytest.mark.parametrize("number", [1 << 64, -(1 << 64) - 1])
def test_numbers_of_more_than_64_bits_are_not_written(number):
    with pytest.raises(ValueError, match="64 bits"):
        cbor.dumps(number)


NUMBERS = st.integers(-(1 << 64), (1 << 64) - 1)
LEAVES = st.none() | NUMBERS | st.binary(max_size=300) | st.text(max_size=100)
KEYS = NUMBERS | st.text(max_size=30)
# Two levels of containers around the leaves stay within the depth that is read.
INNER = st.lists(LEAVES, max_size=5) | st.dictionaries(KEYS, LEAVES, max_size=5)
VALUES = (
    LEAVES
    | st.lists(LEAVES | INNER, max_size=5)
    | st.dictionaries(KEYS, LEAVES | INNER, max_size=5)
)


def test_booleans_where_they_are_asked_for():
    for value, data in ((True, b"\xf5"), (False, b"\xf4"), ({"a": [True, 1]}, None)):
        written = cbor.dumps(value)
        assert data in (None, written)
        found = cbor.loads(written, booleans=True)
        assert repr(found) == repr(value)
        with pytest.raises(errors.FormatError) as caught:
            cbor.loads(written)
        assert caught.value.code == "cbor-type"


def test_error_quotes_little_of_a_hostile_key():
    key = cbor.dumps("k" * 5000)
    with pytest.raises(errors.FormatError) as caught:
        cbor.loads(b"\xa2" + key + b"\0" + key + b"\0")
    assert caught.value.code == "cbor-duplicate"
    assert len(str(caught.value)) < 100


@given(VALUES)
def test_round_trip(value):
    assert cbor.loads(cbor.dumps(value)) == value


@given(st.dictionaries(KEYS, LEAVES | INNER, max_size=5))
def test_round_trip_of_an_indefinite_map(value):
    data = cbor.dumps(value, indefinite_map=True)
    assert (data[0], data[-1]) == (0xBF, 0xFF)
    assert cbor.loads(data, indefinite_map=True) == value


def _in_its_one_form(data, indefinite):
    try:
        value = cbor.loads(data, indefinite_map=indefinite)
    except errors.FormatError:
        return True
    return cbor.dumps(value, indefinite_map=indefinite and data[0] == 0xBF) == data


@given(st.binary(max_size=200), st.booleans())
@example(bytes.fromhex("bf01"), True)
def test_any_bytes_are_a_value_in_its_one_form_or_a_format_error(data, indefinite):
    assert _in_its_one_form(data, indefinite)


@given(VALUES, st.booleans(), st.data())
def test_nearly_right_bytes_too(value, indefinite, data):
    written = bytearray(cbor.dumps(value))
    at = data.draw(st.integers(0, len(written) - 1))
    written[at] = data.draw(st.integers(0, 255))
    assert _in_its_one_form(bytes(written), indefinite)

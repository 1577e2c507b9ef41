# SPDX-License-Identifier: Apache-2.0
"""Every field has one grammar: what is in it is returned, anything else is a FormatError."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors, fields

LABEL = "a" * 63
LONGEST = ".".join([LABEL, LABEL, LABEL, "a" * 61])  # 253 characters
assert len(LONGEST) == 253

ACCEPTED = {
    "name": (
        *("a.example", "example.com", "1.example", "xn--bcher-kva.example", "a-b.c-d.example"),
        *("*.example.com", "_acme-challenge.example.com", "a_b.example", LONGEST, f"*.{LONGEST}"),
        *(f"{LABEL}.example", "a.1a", "a.xn--p1ai"),
    ),
    "issuer": ("letsencrypt.org", "ca-1.example", LONGEST),
    "label": ("http-01", "awskms", "none", "a", "1", LABEL),
    "url": (
        "https://ca.example",
        "https://ca.example/",
        "https://ca.example:14000/dir?a=b&c=d",
        "https://[::1]:14000/acme/acct/1",
        "https://127.0.0.1/acct/~a%20b'()*+,:@!$",
    ),
    "word": ("a", "zone-unsigned", "alias-zone:cdn.example", "A.b_c/d*e@f+g", "a" * 255),
    "digest": ("A" * 43, "a_-" * 14 + "0", "z" * 42 + "8"),
    "serial": ("0", "ab", "f" * 64),
    "sha256": ("0" * 64, "abcdef01" * 8),
    "printable": ("", "a b", "ü", "tls://9.9.9.9#dns.quad9.net", "a" * 1024),
}
NEVER = (None, 0, 1.5, True, b"a", [], ["a"], {}, {"a": 1})
REFUSED = {
    "name": (
        *("", ".", "example", "*", "*.", "*.com", "example.com.", ".example.com", "a..example"),
        *("Example.com", "bücher.example", "a b.example", "a.*.example", "**.example.com"),
        *("-a.example", "a-.example", "a.-b", "a.b-", "a.b_", "a.example\n", "\na.example"),
        *("192.0.2.1", "a.1", f"{LABEL}a.example", f"a{LONGEST}", f"*.a{LONGEST}", "a/b.example"),
        *("a.example;", "a\0.example", "a.example\u202e", "a." * 500 + "example"),
    ),
    "issuer": (
        "",
        "letsencrypt",
        "*.letsencrypt.org",
        "_a.example",
        "A.example",
        "a.example;",
        f"a{LONGEST}",
    ),
    "label": (
        "",
        "-a",
        "a-",
        "http_01",
        "HTTP-01",
        "a b",
        "a,b",
        "a:b",
        "a/b",
        "ü",
        LABEL + "a",
        "a\n",
    ),
    "url": (
        *(
            "",
            "http://ca.example/",
            "https://",
            "https:///a",
            "HTTPS://ca.example/",
            "https://CA.example/",
        ),
        *(
            "https://user@ca.example/",
            "https://ca.example?a",
            "https://ca.example/a b",
            "https://ca.example/ü",
        ),
        *(
            "https://ca.example/a;b",
            'https://ca.example/"',
            "https://ca.example/\\",
            "https://ca.example/\n",
        ),
        *(
            "https://ca.example/\x7f",
            "ftp://ca.example/",
            " https://ca.example/",
            "https://ca.example/" + "a" * 1024,
        ),
    ),
    "word": ("", "-a", ".a", "a b", "a;b", "ü", "a\n", "a" * 256, "a=b", 'a"'),
    # The last digit has four bits of the digest and two that must be zero.
    "digest": (
        "",
        "A" * 42,
        "A" * 44,
        "A" * 42 + "=",
        "A" * 42 + "B",
        "A" * 42 + "9",
        "+" * 43,
        "A" * 43 + "\n",
    ),
    "serial": ("", "AB", "0x1", "-1", "g", "f" * 65, "1\n", "٣"),
    "sha256": ("", "0" * 63, "0" * 65, "AB" * 32, "0" * 64 + "\n"),
    "printable": (
        "\n",
        "a\0",
        "\x1b[m",
        "\x7f",
        "\u202e",
        "\u200b",
        "\ud800",
        "\u2028",
        "a" * 1025,
    ),
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in ACCEPTED.items() for value in values]
)
def test_inside_the_grammar(field, value):
    assert getattr(fields, field)(value, "it") == value


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in REFUSED.items() for value in (*values, *NEVER)],
)
def test_outside_the_grammar(field, value):
    with pytest.raises(errors.FormatError) as caught:
        getattr(fields, field)(value, "it")
    assert caught.value.code == "statement-format"
    # The value is hostile, so the message does not repeat it.
    assert str(caught.value).startswith("it is not ")
    assert str(caught.value).isprintable()


def test_pattern_does_not_get_slow():
    # 1024 characters at most reach a pattern, and none of these backtracks.
    for text in ("a-" * 512, "a." * 512, "_" * 1024, "*." + "-" * 1022):
        with pytest.raises(errors.FormatError):
            fields.name(text, "it")
    read = fields.matching(re.compile("a*"), "any number of a")
    assert read("a" * 1024, "it")
    with pytest.raises(errors.FormatError):
        read("a" * 1025, "it")


TIMES = {
    "2026-01-31T12:00:00Z": datetime(2026, 1, 31, 12, tzinfo=UTC),
    "2024-02-29T23:59:59Z": datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC),
    "1000-01-01T00:00:00Z": datetime(1000, 1, 1, tzinfo=UTC),
}


@pytest.mark.parametrize(("text", "value"), TIMES.items())
def test_time(text, value):
    found = fields.time(text, "it")
    assert found == value
    assert found.utcoffset().total_seconds() == 0


NO_TIMES = (
    *("", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31T12:00Z", "2026-01-31 12:00:00Z"),
    *("2026-01-31T12:00:00+00:00", "2026-01-31T12:00:00z", "2026-01-31t12:00:00Z"),
    *("2026-01-31T12:00:00.0Z", "2026-02-30T12:00:00Z", "2026-13-01T12:00:00Z"),
    *(
        "0999-12-31T12:00:00Z",
        "2025-02-29T12:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-01-31T24:00:00Z",
    ),
    *("2026-01-31T12:60:00Z", "2026-12-31T23:59:60Z", "2026-01-31T12:00:00Z\n"),
    *("٢٠٢٦-01-31T12:00:00Z", "2026-W05-6T12:00:00Z", "+2026-01-31T12:00:00Z"),
    *NEVER,
)


@pytest.mark.parametrize("text", NO_TIMES)
def test_no_time(text):
    with pytest.raises(errors.FormatError) as caught:
        fields.time(text, "it")
    assert caught.value.code == "statement-format"


def test_switch():
    assert fields.switch(True, "it") is True
    assert fields.switch(False, "it") is False


@pytest.mark.parametrize("value", [None, 0, 1, "true", "", [], {}])
def test_no_switch(value):
    with pytest.raises(errors.FormatError, match="it is not true or false"):
        fields.switch(value, "it")


@pytest.mark.parametrize("value", [0, 1, (1 << 53) - 1])
def test_count(value):
    assert fields.count(value, "it") == value


@pytest.mark.parametrize("value", [-1, 1 << 53, True, False, "1", None, 1.0, [], {}])
def test_no_count(value):
    with pytest.raises(errors.FormatError, match="it is not a whole number"):
        fields.count(value, "it")


def test_sorted_list():
    assert fields.sorted_list([], "it", fields.word) == ()
    assert fields.sorted_list(["a", "b"], "it", fields.word) == ("a", "b")
    assert len(fields.sorted_list([f"{n:04}" for n in range(1000)], "it", fields.word)) == 1000


NO_SORTED_LISTS = {
    "unsorted": (["b", "a"], "it is not sorted, each item once"),
    "twice": (["a", "a"], "it is not sorted, each item once"),
    "item outside the grammar": (["a", "-"], r"it\[1\] is not a plain word"),
    "item no text": ([1], r"it\[0\] is not a plain word"),
    "too many": ([f"{n:04}" for n in range(1001)], "it is not a list"),
    "text": ("ab", "it is not a list"),
    "object": ({"a": 1}, "it is not a list"),
    "null": (None, "it is not a list"),
}


@pytest.mark.parametrize(("value", "message"), NO_SORTED_LISTS.values(), ids=NO_SORTED_LISTS)
def test_no_sorted_list(value, message):
    with pytest.raises(errors.FormatError, match=message):
        fields.sorted_list(value, "it", fields.word)


HUNDRED = {str(number): 0 for number in range(100)}


def test_tables_and_their_bounds():
    assert fields.table(HUNDRED, "it") == HUNDRED
    assert fields.tables([{}] * 100, "it") == [{}] * 100
    assert fields.texts(["b", "a", "b"], "it") == ("b", "a", "b")
    assert len(fields.texts(["a"] * 100, "it")) == 100


BEYOND = {
    "table of 101": (fields.table, {**HUNDRED, "a": 0}),
    "table a list": (fields.table, []),
    "table null": (fields.table, None),
    "101 tables": (fields.tables, [{}] * 101),
    "tables an object": (fields.tables, {}),
    "tables of lists": (fields.tables, [[]]),
    "tables of large tables": (fields.tables, [{**HUNDRED, "a": 0}]),
    "101 texts": (fields.texts, ["a"] * 101),
    "texts a text": (fields.texts, "abc"),
    "texts an object": (fields.texts, {"a": 1}),
    "texts with a number": (fields.texts, ["a", 1]),
    "texts with a line": (fields.texts, ["a\n"]),
    "setting a number": (fields.setting, 1),
    "setting null": (fields.setting, None),
    "setting an object": (fields.setting, {}),
    "setting with a line": (fields.setting, "a\n"),
    "setting with a list inside": (fields.setting, [["a"]]),
    "setting of 101": (fields.setting, ["a"] * 101),
}


@pytest.mark.parametrize(("read", "value"), BEYOND.values(), ids=BEYOND)
def test_beyond_the_bounds(read, value):
    with pytest.raises(errors.FormatError) as caught:
        read(value, "it")
    assert caught.value.code == "statement-format"


@pytest.mark.parametrize(
    ("value", "found"), [(True, True), ("a", "a"), ("", ""), (["b", "a"], ("b", "a")), ([], ())]
)
def test_setting(value, found):
    assert fields.setting(value, "it") == found


def test_strict_json():
    assert fields.strict_json('{"a": [1, null, true, "\\u00fc"]}', "it") == {
        "a": [1, None, True, "ü"]
    }


NO_JSON = {
    "nothing": "",
    "no object": "[]",
    "text": '"a"',
    "null": "null",
    "cut": '{"a": 1',
    "comma": '{"a": 1,}',
    "behind the end": "{} {}",
    "twice": '{"a": 1, "a": 1}',
    "twice by an escape": '{"a": 1, "\\u0061": 2}',
    "twice inside": '{"a": [{"b": 1, "b": 2}]}',
    "fraction": '{"a": 1.0}',
    "exponent": '{"a": 1e3}',
    "NaN": '{"a": NaN}',
    "infinity": '{"a": -Infinity}',
    "control character": '{"a": "\n"}',
    "byte order mark": "\ufeff{}",
    "comment": "{} // a",
    "deep": '{"a":' * 100_000,
    "long number": '{"a": ' + "1" * 5000 + "}",
}


@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON)
def test_no_strict_json(text):
    with pytest.raises(errors.FormatError) as caught:
        fields.strict_json(text, "it")
    assert caught.value.code == "json-format"
    assert len(str(caught.value)) < 200


READERS = [
    *(getattr(fields, field) for field in ACCEPTED),
    *(fields.time, fields.switch, fields.count, fields.table, fields.tables, fields.texts),
    fields.setting,
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from(READERS))
def test_any_value_is_read_or_a_format_error(value, read):
    try:
        found = read(value, "it")
    except errors.FormatError:
        return
    assert found is not None


@given(st.text(max_size=100))
def test_any_text_is_an_object_or_a_format_error(text):
    try:
        found = fields.strict_json(text, "it")
    except errors.FormatError:
        return
    assert isinstance(found, dict)

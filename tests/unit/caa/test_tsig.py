# SPDX-License-Identifier: Apache-2.0
"""Key files in the forms of BIND and Knot; whatever else is refused without repeating it."""

import base64
import traceback

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa import tsig

BYTES = b"\xfbowner-of-the-zone-secret-key!\xff/"
SECRET = base64.b64encode(BYTES).decode()
# As `tsig-keygen -a hmac-sha384 Owner.example` of BIND 9.18 writes it.
BIND = f'key "Owner.example" {{\n\talgorithm hmac-sha384;\n\tsecret "{SECRET}";\n}};\n'


@pytest.mark.parametrize(
    "text",
    [
        BIND,
        f'key Owner.example. {{ secret {SECRET}; algorithm "HMAC-SHA384"; }} ;',
        f"// one\n# two\n/* three\n}};{{ */\n{BIND}# four",
        f"hmac-sha384:owner.example:{SECRET}",
        f"HMAC-SHA384:owner.example.:{SECRET}\n",
    ],
)
def test_both_forms(text):
    assert tsig.parse(text.encode()) == tsig.TsigKey("owner.example", "hmac-sha384", BYTES)


def test_the_secret_is_not_shown():
    key = tsig.parse(BIND.encode())
    assert repr(key) == str(key) == "TsigKey(name='owner.example', algorithm='hmac-sha384')"


def _refused(text, code, words):
    data = text if isinstance(text, bytes) else text.encode()
    with pytest.raises((errors.FormatError, errors.PolicyError)) as caught:
        tsig.parse(data)
    assert caught.value.code == code
    assert words in str(caught.value)
    shown = "".join(traceback.format_exception(caught.value, chain=True)) + caught.value.hint
    assert SECRET not in shown
    assert SECRET.lower() not in shown.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        SECRET,
        f"owner:{SECRET}",
        f"hmac-sha256:owner:{SECRET}:x",
        f"hmac-sha256:owner:{SECRET}\nhmac-sha256:other:{SECRET}",
        BIND.replace("};", "}"),
        BIND.replace("key ", "Key "),
        BIND.replace("secret", "algorithm"),
        BIND.replace('"Owner', '"\\Owner'),
        BIND + "options { };",
        BIND + "/* ",
        BIND.replace('";', ";"),
        BIND + "(",
    ],
)
def test_what_is_in_neither_form(text):
    _refused(text, "tsig-key-form", "expected key")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BIND + BIND, "several keys"),
        (" " * 4097, "more than 4096 bytes"),
        (BIND.encode() + b"# \xe4", "signs outside ASCII"),
        (BIND.replace("Owner", "Own er"), "is no domain name"),
        (BIND.replace("Owner", "Owner..x"), "is no domain name"),
        (BIND.replace("Owner", "x" * 64), "is no domain name"),
        (BIND.replace("Owner", ".".join(["x" * 60] * 5)), "is no domain name"),
        (f"hmac-sha256:{'':1}:{SECRET}", "is no domain name"),
        (f"hmac-sha256:owner:{SECRET}=", "is no base64"),
        (f"hmac-sha256:owner:{SECRET[:-1]}", "is no base64"),
        (f"hmac-sha256:owner:{SECRET[:8]} {SECRET[8:]}", "is no base64"),
    ],
)
def test_what_is_wrong_in_it(text, words):
    _refused(text, "tsig-key-form", words)


@pytest.mark.parametrize(
    ("algorithm", "words"),
    [
        ("hmac-md5", "hmac-md5 must not be used"),
        ("HMAC-MD5.SIG-ALG.REG.INT", "must not be used"),
        ("hmac-sha1", "hmac-sha1 is not recommended"),
        ("hmac-sha224", "is not taken here"),
        ("hmac-sha256-128", "is not taken here"),
        ("gss-tsig", "is not taken here"),
        # In the wrong order it is the secret that stands there.
        (SECRET, "is not taken here"),
    ],
)
def test_algorithms_that_are_not_taken(algorithm, words):
    _refused(f"{algorithm}:owner:{SECRET}", "tsig-key-algorithm", words)


@pytest.mark.parametrize(("size", "taken"), [(15, False), (16, True), (512, True), (513, False)])
def test_length_of_the_secret(size, taken):
    text = f"hmac-sha512:owner:{base64.b64encode(b'x' * size).decode()}"
    if taken:
        assert len(tsig.parse(text.encode()).secret) == size
    else:
        _refused(text, "tsig-key-length", f"its secret has {size} bytes, expected 16 to 512")


_PARTS = [
    *("key", '"a"', "{", "}", ";", "algorithm", "hmac-sha256", "secret", "/*", "*/", SECRET),
    *(f'"{SECRET}"', " ", "\n", "#", "//", '"', ":", "\\", "\0"),
]


@given(
    st.one_of(
        st.binary(max_size=200),
        st.lists(st.sampled_from(_PARTS)).map(lambda parts: "".join(parts).encode()),
    )
)
@example(b"key a { algorithm hmac-sha256; secret b; };")
def test_whatever_stands_there_is_a_key_or_one_error(data):
    try:
        found = tsig.parse(data)
    except (errors.FormatError, errors.PolicyError):
        return
    assert found.algorithm in tsig.ALGORITHMS

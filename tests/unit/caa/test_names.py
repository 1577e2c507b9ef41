# SPDX-License-Identifier: Apache-2.0
"""Names with any letters become A-labels by IDNA 2008, and both forms are known."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa.names import Name, check_name, parse


@pytest.mark.parametrize(
    ("text", "ascii_form", "shown"),
    [
        ("Example.COM.", "example.com", "example.com"),
        ("*.example.com", "*.example.com", "*.example.com"),
        ("bücher.example", "xn--bcher-kva.example", "bücher.example"),
        ("BÜCHER.Example.", "xn--bcher-kva.example", "bücher.example"),
        ("bu\u0308cher.example", "xn--bcher-kva.example", "bücher.example"),
        ("*.bücher.example", "*.xn--bcher-kva.example", "*.bücher.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example", "bücher.example"),
        ("*.xn--bcher-kva.example", "*.xn--bcher-kva.example", "*.bücher.example"),
        ("例え。テスト", "xn--r8jz45g.xn--zckzah", "例え.テスト"),
        # IDNA 2003, which Python's codec does, would make strasse of it: another name.
        ("straße.example", "xn--strae-oqa.example", "straße.example"),
        ("\u212aelvin.example", "kelvin.example", "kelvin.example"),
        # Registered under IDNA 2003 in some zones: it has no letters, but it can be bound.
        ("xn--u9h.example", "xn--u9h.example", None),
    ],
)
def test_both_forms(text, ascii_form, shown):
    assert parse(text) == Name(ascii_form, shown)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("☃.example", "no name of IDNA 2008"),
        ("a\u200db.example", "no name of IDNA 2008"),
        ("ü..example", "no name of IDNA 2008"),
        ("*.*.ü.example", "no name of IDNA 2008"),
        ("\u0661\u05d0.example", "no name of IDNA 2008"),
        ("ü" * 64 + ".example", "no name of IDNA 2008"),
        ("ü.example." * 30, "no host name"),
        ("ü_.example", "no name of IDNA 2008"),
        ("bücher", "a single label"),
        ("ü.example\n", "no name of IDNA 2008"),
        ("１９２.0.2.1", "an IP address"),
        ("ｃｏ.uk", "a public suffix"),
        ("localhost", "a single label"),
    ],
)
def test_no_name(text, words):
    with pytest.raises(errors.PolicyError, match=words) as caught:
        parse(text)
    assert caught.value.code == "name-refused"


_TEXT = st.text(max_size=20) | st.text("xn-*.ü\u05d0\u0661\u200d。ß9", max_size=12)


@given(st.builds("{}{}.example{}".format, st.sampled_from(["", "*.", "xn--"]), _TEXT, _TEXT))
def test_any_text_is_a_name_or_refused(text):
    with contextlib.suppress(errors.PolicyError):
        name = parse(text)
        assert check_name(name.ascii) == name.ascii
        if name.shown is not None:
            assert parse(name.shown) == name

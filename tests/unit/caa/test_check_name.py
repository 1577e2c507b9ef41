# SPDX-License-Identifier: Apache-2.0
"""Only names that somebody holds, and that CAA can bind, are judged."""

import pytest

from certbot_enclave import errors
from certbot_enclave.caa.names import check_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("example.com", "example.com"),
        ("EXAMPLE.com.", "example.com"),
        ("*.Example.com", "*.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("1.2.3.4.example", "1.2.3.4.example"),
        ("a-b.c--d.test", "a-b.c--d.test"),
        ("x.co.uk", "x.co.uk"),
        ("*.x.co.uk", "*.x.co.uk"),
        ("com.example", "com.example"),
        ("onion.example", "onion.example"),
        # No registry of ours: a CA may issue for it, and for its wildcard.
        ("github.io", "github.io"),
        (".".join(["a" * 63, "b" * 63, "c" * 63, "d" * 61]),) * 2,
    ],
)
def test_check_name_accepts(text, name):
    assert check_name(text) == name


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no host name"),
        (".", "no host name"),
        ("*", "no host name"),
        ("*.", "no host name"),
        ("**.example.com", "no host name"),
        ("*.*.example.com", "no host name"),
        ("a.*.example.com", "no host name"),
        ("a..example.com", "no host name"),
        ("example.com..", "no host name"),
        (".example.com", "no host name"),
        ("_acme.example.com", "no host name"),
        ("-a.example.com", "no host name"),
        ("a-.example.com", "no host name"),
        ("a b.example.com", "no host name"),
        ("example.com\n", "no host name"),
        ("bücher.example", "no host name"),
        ("\u212a.example", "no host name"),  # Kelvin sign; its lower case is k
        ("\uff45xample.com", "no host name"),
        ("2001:db8::1", "no host name"),
        ("a" * 64 + ".example", "no host name"),
        (".".join(["a" * 63] * 4), "no host name"),
        ("192.0.2.1", "is an IP address"),
        ("192.0.2.1.", "is an IP address"),
        ("3221225985", "is an IP address"),
        ("com", "a single label"),
        ("localhost", "a single label"),
        ("*.com", "a single label"),
        ("abc.onion", "an onion name"),
        ("*.abc.ONION", "an onion name"),
        ("co.uk", "a public suffix"),
        ("*.CO.UK.", "a public suffix"),
    ],
)
def test_check_name_refuses(text, reason):
    with pytest.raises(errors.PolicyError, match=reason) as caught:
        check_name(text)
    assert caught.value.code == "name-refused"

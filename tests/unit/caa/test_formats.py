# SPDX-License-Identifier: Apache-2.0
"""What is printed for a zone reads back as the same records at the right name."""

import dns.name
import dns.rdatatype
import dns.zone
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa import formats
from certbot_enclave.caa.grammar import Record

URI = "https://acme-v02.api.letsencrypt.org/acme/acct/1234567890"
VALUE = f"letsencrypt.org;validationmethods=dns-01;accounturi={URI}".encode()
HEAD = "@ 1 IN SOA a b 1 1 1 1 1\n@ 1 IN NS a\n"


def _read_back(lines):
    zone = dns.zone.from_text(HEAD + "\n".join(lines), origin="example.com.", relativize=False)
    return {
        (name.to_text(), rdataset.ttl): sorted(
            Record(item.flags, item.tag, item.value) for item in rdataset
        )
        for name, rdataset in zone.iterate_rdatasets(dns.rdatatype.CAA)
    }


@pytest.mark.parametrize(("wildcard", "second"), [(False, b";"), (True, VALUE)])
def test_the_pair(wildcard, second):
    pair = formats.records_for(
        issuer="letsencrypt.org", methods=["dns-01"], account_uri=URI, wildcard=wildcard
    )
    assert pair == (Record(0, b"issue", VALUE), Record(0, b"issuewild", second))


def test_the_pair_is_not_made_for_what_cannot_be_written():
    with pytest.raises(errors.PolicyError, match="account URI"):
        formats.records_for(issuer="ca.test", methods=["dns-01"], account_uri='https://ca.test/"')


def test_lines_are_exactly_these():
    pair = (Record(0, b"issue", VALUE), Record(0, b"issuewild", b";"))
    assert formats.zone("example.com", pair) == (
        f'example.com. 3600 IN CAA 0 issue "{VALUE.decode()}"',
        'example.com. 3600 IN CAA 0 issuewild ";"',
    )
    # From the RFC 3597 line that Knot, BIND and NSD loaded.
    assert formats.generic("example.com", pair)[1] == (
        "example.com. 3600 IN TYPE257 \\# 12 0009697373756577696c643b"
    )
    assert formats.generic("example.com", pair)[0].startswith(
        "example.com. 3600 IN TYPE257 \\# 116 00056973737565"
    )


@pytest.mark.parametrize("write", [formats.zone, formats.generic])
@pytest.mark.parametrize("name", ["example.com", "a.example.com", "*.a.example.com"])
@given(
    records=st.lists(
        st.builds(
            Record,
            st.integers(0, 255),
            st.sampled_from([b"issue", b"issuewild", b"iodef", b"TBS1"]),
            st.binary(max_size=40),
        ),
        min_size=1,
        max_size=4,
        unique=True,
    ),
    ttl=st.integers(1, 86400),
)
def test_lines_read_back_as_the_same_records(write, name, records, ttl):
    # The records of a wildcard name stand below the star (RFC 8659 §3); at the star they would be
    # those of every other name.
    owner = name.removeprefix("*.") + "."
    assert _read_back(write(name, records, ttl)) == {(owner, ttl): sorted(records)}

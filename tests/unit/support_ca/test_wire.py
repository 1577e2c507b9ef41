# SPDX-License-Identifier: Apache-2.0
"""DNS answers read by hand: what dnspython writes, what it refuses, and hostile bytes."""

import dns.flags
import dns.message
import dns.rcode
import dns.rdata
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.ca.caa import Answer, LookupFailed
from tests.support.ca.wire import read_answer

NAME = "www.example.test"
ID = 4711


def message(*records: str, rcode: int = 0, flags: int = 0) -> bytes:
    """The answer that dnspython writes; records in generic form (RFC 3597)."""
    query = dns.message.make_query(NAME + ".", "CAA", use_edns=0)
    query.id = ID
    response = dns.message.make_response(query)
    response.set_rcode(dns.rcode.Rcode(rcode))
    response.flags |= flags
    for text in records:
        owner, kind, data = text.split(" ", 2)
        response.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, data))
    return response.to_wire()


def raw_record(rdata: bytes, count: int = 1) -> bytes:
    """A message with one CAA record of any RDATA, its owner a compression pointer."""
    head = message()
    question = head[12 : head.index(b"\x01\x01\x00\x01") + 4]
    counts = (1).to_bytes(2, "big") + count.to_bytes(2, "big") + bytes(4)
    record = b"\xc0\x0c\x01\x01\x00\x01\x00\x00\x00\x3c" + len(rdata).to_bytes(2, "big") + rdata
    return head[:4] + counts + question + record


def test_records_count_whatever_their_owner():
    got = read_answer(
        message(
            f"{NAME}. CNAME other.test.", 'other.test. CAA 0 issue "a"', 'other.test. CAA 1 x "b"'
        ),
        ID,
        NAME,
    )
    assert got == Answer((b"\0\5issuea", b"\1\1xb"))


@pytest.mark.parametrize("rdata", [b"", b"\0", b"\0\0value", b"\0\x09short", b"\0\5is-ue\xff"])
def test_odd_rdata_stays_octets(rdata):
    assert read_answer(raw_record(rdata), ID, NAME) == Answer((rdata,))


@pytest.mark.parametrize("rcode", [2, 3, 5, 16])
def test_rcode_comes_through_extended_ones_too(rcode):
    assert read_answer(message(rcode=rcode), ID, NAME).rcode == rcode


def test_truncation_is_told():
    assert read_answer(message(flags=dns.flags.TC), ID, NAME).truncated


@pytest.mark.parametrize(
    "spoilt",
    [
        b"",
        b"\0" * 11,
        b"\0\0" + message()[2:],  # another id
        message()[:2] + b"\x01\0" + message()[4:],  # a query, not an answer
        message()[:4] + b"\0\2" + message()[6:],  # two questions
        message().replace(b"\3www", b"\3ftp"),  # another name
        message().replace(b"\x01\x01\x00\x01", b"\x00\x01\x00\x01"),  # another type
        message().replace(b"\3www", b"\xc0\x0cxx"),  # a name that points at itself
        message().replace(b"\3www", b"\x43www"),  # a reserved label type
        raw_record(b"\0\5issue")[:-1],  # RDATA cut short
        raw_record(b"\0\5issue", count=2),  # a record that is not there
    ],
)
def test_what_cannot_be_read_is_a_failed_lookup(spoilt):
    with pytest.raises(LookupFailed):
        read_answer(spoilt, ID, NAME)


@given(st.data())
def test_hostile_bytes_give_an_answer_or_a_failed_lookup(data):
    octets = bytearray(message('www.example.test. CAA 0 issue "ca.test"'))
    for _ in range(data.draw(st.integers(1, 6))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    spoilt = bytes(octets[: data.draw(st.integers(0, len(octets)))])
    try:
        assert isinstance(read_answer(spoilt, ID, NAME), Answer)
    except LookupFailed:
        pass

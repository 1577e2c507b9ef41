# SPDX-License-Identifier: Apache-2.0
"""The question that is filled into a form is the one that dnspython makes, with its answers."""

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa.question import PAYLOAD, Question, message
from certbot_enclave.caa.resolvers import parse

NAME = "www.example.com"
LABELS = st.from_regex(r"[a-z0-9_]([a-z0-9-]{0,61}[a-z0-9])?", fullmatch=True)


def test_it_asks_for_authenticated_data():
    made = message(NAME)
    assert dns.flags.to_text(made.flags) == "RD AD"
    assert (made.edns, made.ednsflags, made.payload) == (0, dns.flags.DO, PAYLOAD)
    assert made.question[0].to_text() == f"{NAME}. IN CAA"


@given(st.lists(LABELS, min_size=1, max_size=3))
def test_both_make_the_same_bytes(labels):
    name = ".".join(labels)
    made, other = Question(name), message(name)
    other.id = made.id
    assert made.to_wire() == other.to_wire()


def test_each_has_an_id_of_its_own():
    assert len({Question(NAME).id for _ in range(20)}) > 1


def test_another_id_is_sent_too():
    made = Question(NAME)
    made.id = 0x1234
    assert made.to_wire()[:2] == b"\x12\x34"


def _answer(query, *, name=NAME, kind="CAA", rdclass="IN", questions=1, **fields):
    answer = dns.message.Message(fields.get("id", query.id))
    answer.flags = dns.flags.QR | dns.flags.RA
    answer.flags = fields.get("flags", answer.flags)
    answer.set_opcode(fields.get("opcode", dns.opcode.QUERY))
    answer.set_rcode(fields.get("rcode", dns.rcode.NOERROR))
    asked = dns.rrset.from_text(f"{name}.", 0, rdclass, kind)
    answer.question = [asked, dns.rrset.from_text("other.", 0, "IN", "A")][:questions]
    if questions == 3:
        answer.question = [asked, asked]
    return answer


ABLE = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN, dns.rcode.NOTAUTH)
UNABLE = (dns.rcode.FORMERR, dns.rcode.SERVFAIL, dns.rcode.NOTIMP, dns.rcode.REFUSED)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"name": NAME.upper()},
        *({"rcode": code, "questions": 0} for code in UNABLE),
        *({"rcode": code} for code in (*UNABLE, *ABLE)),
    ],
)
def test_an_answer_is_one(fields):
    for query in (Question(NAME), message(NAME)):
        assert query.is_response(_answer(query, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"id": 0},
        {"flags": 0},
        {"opcode": dns.opcode.STATUS},
        {"name": "example.com"},
        {"kind": "A"},
        {"rdclass": "CH"},
        {"questions": 2},
        *({"rcode": code, "questions": 0} for code in ABLE),
    ],
)
def test_no_other_message_is(fields):
    for query in (Question(NAME), message(NAME)):
        query.id = 1
        assert not query.is_response(_answer(query, **fields))


def test_what_is_none_is_refused():
    query = Question(NAME)
    query.id = 1
    with pytest.raises(errors.FormatError) as caught:
        parse(query, _answer(query, id=2).to_wire())
    assert caught.value.code == "answer-other"


def test_one_question_twice_is_not_one():
    query = Question(NAME)
    assert not query.is_response(_answer(query, questions=3))

# SPDX-License-Identifier: Apache-2.0
"""Whatever a server sends back, the resolver's answer is a failure, and no exception escapes."""

import dns.flags
import dns.message
import dns.rrset
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from certbot_enclave.caa.grammar import Record
from tests.functional.caa.liar import Liar

NAME = "www.example.com"
RECORD = Record(0, b"issue", b"ca.test")


@pytest.fixture(scope="module")
def liar():
    liar = Liar()
    yield liar
    liar.close()


def _honest(wire, *, flags=0, cut=None, extra=b"", change=lambda answer: None):
    answer = dns.message.make_response(dns.message.from_wire(wire), recursion_available=True)
    answer.answer.append(dns.rrset.from_text(NAME + ".", 1, "IN", "CAA", '0 issue "ca.test"'))
    answer.flags |= flags
    change(answer)
    return answer.to_wire()[:cut] + extra


def _other_question(answer):
    answer.question[0] = dns.rrset.RRset(dns.name.from_text("other.com."), 1, 257)


def _other_id(answer):
    answer.id ^= 1


def _no_question(answer):
    answer.question.clear()


def _no_response(answer):
    answer.flags &= ~dns.flags.QR


def _foreign_records(answer):
    answer.answer[0].name = dns.name.from_text("other.com.")


def test_the_truth_is_believed(liar):
    liar.udp = _honest
    found = liar.ask(NAME)
    assert (found.records, found.failure, found.authenticated) == ((RECORD,), None, False)
    assert liar.asked == ["udp"]


def test_a_truncated_answer_is_asked_for_again_over_tcp(liar):
    liar.udp = lambda wire: _honest(wire, flags=dns.flags.TC)
    liar.tcp = lambda wire: _honest(wire, flags=dns.flags.AD)
    found = liar.ask(NAME)
    assert (found.records, found.authenticated) == ((RECORD,), True)
    assert liar.asked == ["udp", "tcp"]


def test_truncated_over_tcp_too_is_a_failure(liar):
    liar.udp = liar.tcp = lambda wire: _honest(wire, flags=dns.flags.TC)
    assert liar.ask(NAME).failure == "truncated answer"


def test_a_connection_that_ends_early_is_tried_again_and_then_a_failure(liar):
    liar.udp = lambda wire: _honest(wire, flags=dns.flags.TC)
    liar.tcp = lambda wire: None
    assert liar.ask(NAME).failure == "the connection ended before the answer"
    assert liar.asked == ["udp", "tcp"] * 2


def test_silence_is_a_failure_after_two_tries(liar):
    liar.udp = lambda wire: None
    assert liar.ask(NAME, timeout=0.1).failure == "no answer within 0.1 seconds"
    assert liar.asked == ["udp", "udp"]


def test_the_second_try_counts(liar):
    answers = iter([None, True])
    liar.udp = lambda wire: _honest(wire) if next(answers) else None
    assert liar.ask(NAME, timeout=0.3).records == (RECORD,)


@pytest.mark.parametrize(
    "options",
    [
        {"change": _other_id},
        {"change": _other_question},
        {"change": _no_question},
        {"change": _no_response},
        {"change": _foreign_records},
        {"extra": b"\0"},
        {"cut": -1},
        {"cut": 12},
        {"cut": 0},
    ],
    # By name: the workers that share the tests must agree on it.
    ids=lambda options: " ".join(getattr(v, "__name__", str(v)) for v in options.values()),
)
@pytest.mark.parametrize("way", ["udp", "tcp"])
def test_what_is_no_answer_to_the_question_is_a_failure(liar, options, way):
    liar.udp = lambda wire: _honest(wire, **(options if way == "udp" else {"flags": dns.flags.TC}))
    liar.tcp = lambda wire: _honest(wire, **options)
    found = liar.ask(NAME)
    assert found.failure.startswith("malformed answer: ")
    assert len(found.failure) > len("malformed answer: ")
    assert (found.records, found.authenticated, found.aliases) == ((), False, ())


def _mangled(wire, places):
    answer = bytearray(_honest(wire))
    for place, byte in places:
        # The id, the flags and the question stay, or it would not be read any further.
        answer[len(wire) - 11 + place % (len(answer) - len(wire) + 11)] = byte
    return bytes(answer)


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), min_size=1, max_size=6))
@settings(max_examples=300, deadline=None)
def test_no_bytes_escape_as_an_exception(liar, places):
    liar.udp = lambda wire: _mangled(wire, places)
    found = liar.ask(NAME)
    assert found.failure is None or found.failure.isprintable()
    assert found.failure is None or (found.records, found.aliases) == ((), ())


def _with_rdata(rdata):
    """Answer with one CAA record of these bytes, authenticated."""

    def answer(wire):
        question = wire[12 : len(wire) - 11]  # an OPT record of 11 bytes follows
        head = wire[:2] + b"\x81\xa0" + b"\0\1\0\1\0\0\0\0" + question
        return head + b"\xc0\x0c\x01\x01\x00\x01\0\0\0\1" + len(rdata).to_bytes(2, "big") + rdata

    return answer


def test_rdata_arrives_as_it_is(liar):
    liar.udp = _with_rdata(b"\x80\x05issueca.test;\xff")
    found = liar.ask(NAME)
    assert (found.failure, found.authenticated) == (None, True)
    assert found.records == (Record(128, b"issue", b"ca.test;\xff"),)


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x00")
@example(b"\x00\x05issu")
@settings(max_examples=200, deadline=None)
def test_no_rdata_is_dropped_or_escapes_as_an_exception(liar, rdata):
    liar.udp = _with_rdata(rdata)
    found = liar.ask(NAME)
    if found.failure is None:
        size = rdata[1]
        assert found.records == (Record(rdata[0], rdata[2 : 2 + size], rdata[2 + size :]),)
    else:
        assert found.failure.startswith("malformed answer: ")
        assert found.records == ()

# SPDX-License-Identifier: Apache-2.0
"""The inputs for CAA reach every way in which a response is refused, and every kind of record."""

from collections import Counter
from random import Random

import pytest

from certbot_enclave.caa.grammar import Record
from tests.fuzz import caa

PIN = f"ca.test;validationmethods=http-01;accounturi={caa.OURS}".encode()


@pytest.fixture(scope="module")
def answers():
    random = Random("answers")
    return [caa.ask(caa.make_answer(random)) for _ in range(6000)]


def test_some_responses_are_answers(answers):
    usable = [answer for answer in answers if answer.failure is None]
    assert len(usable) > 1500
    assert sum(bool(answer.records) for answer in usable) > 1000
    assert sum(answer.authenticated for answer in usable) > 500
    assert Counter(len(answer.aliases) for answer in usable).keys() >= {0, 1, 2, 3}


@pytest.mark.parametrize(
    "words",
    [
        "truncated answer",
        "SERVFAIL",
        "SERVFAIL (EDE 6",
        "REFUSED",
        "NOTIMP",
        "it is no resolver",
        "malformed answer: CAA records of a name that was not asked about",
        "malformed answer: aliases that form no chain",
        "malformed answer: a DNAME without the CNAME",
        "malformed answer: records of a name that does not exist",
        "malformed answer: records of another class",
        "malformed answer: DNS message is malformed",
        "malformed answer: The DNS packet",
    ],
)
def test_responses_fail_in_every_way(answers, words):
    assert any((answer.failure or "").startswith(words) for answer in answers)


def test_a_record_set_that_leaves_nobody_else_is_accepted():
    size = (7 + len(PIN)).to_bytes(2, "big")
    caa.judge(size + b"\x00\x05issue" + PIN)
    caa.judge_records([Record(0, b"issue", PIN)])


def test_a_length_that_is_too_great_ends_at_the_end():
    with pytest.raises(caa.errors.GateError) as caught:
        caa.judge(b"\xff\xff\x00\xffother")
    assert caught.value.code == "caa-no-issue"

# SPDX-License-Identifier: Apache-2.0
"""What is made of servers that agree, disagree, are lame, or are out of reach."""

import errno

import dns.exception
import dns.message
import pytest

from certbot_enclave import errors
from certbot_enclave.caa import agreement, authoritative
from certbot_enclave.caa.agreement import Outcome, Reply, State
from certbot_enclave.caa.authoritative import Expected, Served, Server
from certbot_enclave.caa.evaluate import Finding
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.verdict import Verdict

OURS, OTHER = Record(0, b"issue", b"ca.test"), Record(0, b"issue", b"other.test")
NONE, SAME, MORE = Served(None, ()), Served(None, (OURS,)), Served(None, (OURS, OTHER))
ONE, TWO = Server("ns1.net", "192.0.2.1"), Server("ns2.net", "192.0.2.2")
NOWHERE = Server("ns3.net", None, "it has no address")
EXCLUSIVE = Verdict("a.test", "exclusive", (), (), ("one",), "a.test")


def _compare(*replies, wanted=SAME, name="a.test"):
    return agreement.compare([Outcome(Expected(name, wanted), "a.test", replies)])


def _names(findings):
    return [finding.name for finding in findings]


def test_servers_that_serve_what_the_resolvers_were_told_agree():
    found = _compare(Reply(ONE, SAME), Reply(TWO, SAME))
    assert found == ((), (), found.servers, None)
    assert found.servers == (
        State("ns1.net", "192.0.2.1", True, None, False),
        State("ns2.net", "192.0.2.2", True, None, False),
    )
    assert agreement.weigh(EXCLUSIVE, found) is EXCLUSIVE


@pytest.mark.parametrize(
    ("wanted", "served", "record", "shown"),
    [
        (SAME, MORE, OTHER.text(), '0 issue "ca.test"; 0 issue "other.test"'),
        (MORE, SAME, None, '0 issue "ca.test"'),
        (SAME, NONE, None, "no CAA records"),
        (NONE, SAME, OURS.text(), '0 issue "ca.test"'),
        (SAME, Served("b.net", ()), None, "an alias of b.net"),
        (Served("b.net", ()), Served("c.net", ()), None, "an alias of c.net"),
        (Served("b.net", ()), NONE, None, "no CAA records"),
    ],
)
def test_one_that_serves_something_else_keeps_the_name_open(wanted, served, record, shown):
    found = _compare(Reply(ONE, wanted), Reply(TWO, served), wanted=wanted)
    (finding,) = found.findings
    assert (finding.name, finding.record) == ("servers-disagree", record)
    assert f"ns2.net (192.0.2.2) answered: {shown}; the resolvers were told: " in finding.why
    assert [state.agrees for state in found.servers] == [True, False]
    assert agreement.weigh(EXCLUSIVE, found).word == "open"
    assert agreement.weigh(EXCLUSIVE, found).findings == (finding,)


def test_one_whose_answer_cannot_be_read_disagrees():
    found = _compare(Reply(ONE, SAME), Reply(TWO, failure="malformed answer: x", unreadable=True))
    assert _names(found.findings) == ["servers-disagree"]
    assert "ns2.net (192.0.2.2) answered: malformed answer: x; " in found.findings[0].why
    assert found.notes == ()
    assert found.servers[1] == State("ns2.net", "192.0.2.2", False, "malformed answer: x", False)


def test_those_that_serve_the_same_are_one_finding_however_many():
    servers = [Server(f"ns{number}.net", f"192.0.2.{number}") for number in range(30)]
    found = _compare(*(Reply(server, MORE) for server in servers))
    (finding,) = found.findings
    assert "ns3.net (192.0.2.3), 26 more answered" in finding.why


def test_what_a_server_sends_is_cut_short():
    many = tuple(Record(0, b"issue", b"\xff" * 5000 + b"%d" % number) for number in range(1000))
    (finding,) = _compare(Reply(ONE, Served(None, many))).findings
    assert len(finding.why) < 1200
    assert "…; 996 more; the resolvers" in finding.why
    assert finding.why.isprintable()


@pytest.mark.parametrize("lame", [Reply(TWO, failure="REFUSED"), Reply(NOWHERE, failure="why")])
def test_a_lame_server_is_a_note(lame):
    found = _compare(Reply(ONE, SAME), lame)
    assert (found.findings, found.error) == ((), None)
    assert _names(found.notes) == ["server-lame"]
    assert lame.server.name in found.notes[0].why
    assert lame.failure in found.notes[0].why
    assert found.servers[1][2:] == (None, lame.failure, False)
    assert agreement.weigh(EXCLUSIVE, found) is EXCLUSIVE


def test_a_server_that_is_lame_for_many_names_is_noted_once():
    replies = (Reply(ONE, SAME), Reply(TWO, failure="REFUSED"))
    outcomes = [Outcome(Expected(f"{n}.test", SAME), "a.test", replies) for n in range(9)]
    found = agreement.compare(outcomes)
    assert len(found.notes) == 1
    assert len(found.servers) == 2


def test_one_that_answers_for_some_names_only_does_not_agree():
    outcomes = [
        Outcome(Expected("b.a.test", NONE), "a.test", (Reply(ONE, NONE),)),
        Outcome(Expected("a.test", SAME), "a.test", (Reply(ONE, failure="SERVFAIL"),)),
    ]
    found = agreement.compare(outcomes)
    assert found.servers == (State("ns1.net", "192.0.2.1", None, "SERVFAIL", False),)
    assert str(found.error) == (
        "no server of a.test could be asked about a.test: ns1.net (192.0.2.1): SERVFAIL"
    )


def test_no_way_to_a_server_is_no_word_about_it():
    away = Reply(TWO, failure="Network is unreachable from here", away=True)
    found = _compare(Reply(ONE, SAME), away)
    assert found[:2] == ((), ())
    assert found.error is None
    assert found.servers[1][2:] == (None, "Network is unreachable from here", True)


@pytest.mark.parametrize(
    "replies",
    [
        (),
        (Reply(ONE, failure="REFUSED"),),
        (Reply(TWO, failure="Network is unreachable from here", away=True),),
    ],
)
def test_a_name_that_nobody_could_be_asked_about_could_not_be_told(replies):
    found = _compare(*replies)
    assert found.error.code == "lookup-failed"
    judged = agreement.weigh(EXCLUSIVE, found)
    assert judged.failure is found.error
    assert judged.word == "open"
    assert _names(judged.findings) == ["lookup-failed"]


def test_an_error_on_the_way_to_the_servers_is_told():
    error = authoritative.unknown("why")
    found = agreement.compare([Outcome(Expected("a.test", SAME), "", (), error)])
    assert found == ((), (), (), error)


def test_what_is_open_stays_open_if_nobody_could_be_asked():
    mine = Finding("no-caa", None, "why", "fix")
    found = agreement.weigh(
        Verdict("a.test", "open", (mine,), (), ("one",), None), _compare(Reply(ONE, failure="x"))
    )
    assert (found.word, found.failure) == ("open", None)
    assert _names(found.findings) == ["no-caa", "lookup-failed"]


@pytest.mark.parametrize(
    ("error", "failure", "unreadable", "away", "again"),
    [
        (TimeoutError(), "no answer within 2 seconds", False, False, True),
        (OSError(errno.ECONNREFUSED, "x"), "Connection refused", False, False, True),
        (OSError(errno.EHOSTUNREACH, "x"), "No route to host", False, False, True),
        (
            OSError(errno.ENETUNREACH, "x"),
            "Network is unreachable from here",
            False,
            True,
            False,
        ),
        (
            OSError(errno.EADDRNOTAVAIL, "x"),
            "Cannot assign requested address from here",
            False,
            True,
            False,
        ),
        (
            OSError(errno.EAFNOSUPPORT, "x"),
            "Address family not supported by protocol from here",
            False,
            True,
            False,
        ),
        (EOFError(), "the connection ended before the answer", False, False, True),
        (dns.message.ShortHeader(), None, True, False, False),
        (errors.FormatError("odd", code="x"), "malformed answer: odd", True, False, False),
    ],
)
def test_what_is_made_of_a_try_that_gave_nothing(error, failure, unreadable, away, again):
    reply, more = agreement.failed(ONE, error, 2.0)
    assert (reply.served, reply.unreadable, reply.away, more) == (None, unreadable, away, again)
    assert failure is None or reply.failure == failure
    assert reply.failure

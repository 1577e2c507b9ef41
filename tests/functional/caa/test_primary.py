# SPDX-License-Identifier: Apache-2.0
"""A server that takes updates, in every mood: what it says is believed only if it is signed."""

import contextlib
import socket
import threading
import time

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rrset
import pytest

from certbot_enclave import errors
from certbot_enclave.caa import primary, update
from certbot_enclave.caa.changes import Change
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.tsig import TsigKey
from tests.support.world.process import free_port

KEY = TsigKey("owner", "hmac-sha256", b"0123456789abcdef0123456789abcdef")
OLD, NEW, THIRD = (Record(0, b"issue", name) for name in (b"old.test", b"new.test", b"third.test"))
CHANGE = Change("www.example.com", (OLD,), (NEW,), "www.example.com")


class Server:
    """Answers over TCP as an authoritative server of `zones`, signed; `moods` go first.

    Attributes:
        zones: TTL of denials by name of the zone.
        sets: TTL and records by name.
        moods: Each is called with the question and what would be the answer; the first that
            returns something decides: a message, bytes, or a code.
        asked: What it was asked: kind and name.
    """

    def __init__(self):
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.zones = {"example.com": 60}
        self.sets = {"www.example.com": (300, [OLD])}
        self.moods, self.asked = [], []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                stream, _ = self._socket.accept()
                with stream, contextlib.suppress(OSError):
                    size = int.from_bytes(stream.recv(2), "big")
                    wire = b""
                    while len(wire) < size:
                        wire += stream.recv(size - len(wire))
                    answer = self._answer(wire)
                    stream.sendall(len(answer).to_bytes(2, "big") + answer)

    def _answer(self, wire):
        ring = {dns.name.from_text("owner"): update.key_of(KEY)}
        query = dns.message.from_wire(wire, keyring=ring)
        assert query.had_tsig
        (question,) = query.sections[0]
        name = question.name.to_text(omit_final_dot=True)
        changing = query.opcode() == dns.opcode.UPDATE
        kind = "update" if changing else {6: "SOA", 257: "CAA"}[question.rdtype]
        self.asked.append((kind, name))
        reply = dns.message.make_response(query)
        if not changing:
            reply.flags |= dns.flags.AA
            self._tell(reply, kind, name)
        for mood in self.moods:
            other = mood(kind, name, reply)
            if isinstance(other, bytes):
                return other
            if other is not None:
                reply.set_rcode(dns.rcode.from_text(other))
                break
        else:
            if changing:
                self._change(query)
        return reply.to_wire()

    def _tell(self, reply, kind, name):
        if kind == "SOA" and name in self.zones:
            text = f"ns.{name}. a.{name}. 1 2 3 4 {self.zones[name]}"
            reply.answer.append(dns.rrset.from_text(name + ".", 3600, "IN", "SOA", text))
        if kind == "CAA" and name in self.sets:
            ttl, records = self.sets[name]
            texts = [record.text() for record in records]
            reply.answer.append(dns.rrset.from_text(name + ".", ttl, "IN", "CAA", *texts))

    def _change(self, query):
        for rrset in query.update:
            name = rrset.name.to_text(omit_final_dot=True)
            if rrset.deleting:
                self.sets.pop(name, None)
            else:
                record = Record(rrset[0].flags, rrset[0].tag, rrset[0].value)
                _, there = self.sets.get(name, (0, []))
                self.sets[name] = rrset.ttl, [*there, record]

    def close(self):
        # Whoever waits in accept wakes up only by this.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def server():
    started = Server()
    yield started
    started.close()


def _publish(server, *changes, timeout=10.0, **options):
    asked = primary.Primary("127.0.0.1", server.port, KEY, timeout)
    return primary.publish(asked, changes or [CHANGE], ttl=120, **options)


def _failed(outcomes):
    (outcome,) = outcomes
    assert outcome.state == "failed"
    assert KEY.secret.decode() not in f"{outcome.error}{outcome.error.hint}"
    return type(outcome.error), outcome.error.code


def test_a_change_is_made_and_read_back(server):
    (outcome,) = _publish(server)
    assert outcome == primary.Outcome(CHANGE, "applied", "example.com", 300)
    assert server.sets == {"www.example.com": (120, [NEW])}
    assert server.asked == [
        ("SOA", "www.example.com"),
        ("SOA", "example.com"),
        ("CAA", "www.example.com"),
        ("update", "example.com"),
        ("CAA", "www.example.com"),
    ]


def test_of_several_names_each_zone_is_asked_for_once_and_changed_at_once(server):
    server.zones["example.org"] = 30
    server.sets = {"example.org": (7, [OLD])}
    changes = [
        Change("example.org", (OLD,), (NEW,), "example.org"),
        Change("a.example.com", (), (NEW,)),
        Change("b.example.com", (), (NEW,)),
    ]
    outcomes = _publish(server, *changes)
    assert [(item.change, item.state, item.zone, item.old_ttl) for item in outcomes] == [
        (changes[0], "applied", "example.org", 7),
        (changes[1], "applied", "example.com", 60),
        (changes[2], "applied", "example.com", 60),
    ]
    assert [name for kind, name in server.asked if kind == "update"] == [
        "example.org",
        "example.com",
    ]
    assert server.asked.count(("SOA", "example.com")) == 1


def test_the_old_ttl_is_that_of_what_was_inherited_too(server):
    server.sets = {"example.com": (900, [OLD])}
    (outcome,) = _publish(server, Change("www.example.com", (), (NEW,), "example.com"))
    assert (outcome.state, outcome.old_ttl) == ("applied", 900)
    # It stands where this server says nothing.
    server.sets.clear()
    server.moods = [lambda kind, name, _reply: "REFUSED" if name == "com" else None]
    (outcome,) = _publish(server, Change("www.example.com", (), (NEW,), "com"))
    assert (outcome.state, outcome.old_ttl) == ("applied", 60)


def test_what_is_there_already_is_not_sent(server):
    server.sets["www.example.com"] = (300, [NEW])
    other = Change("a.example.com", (), (NEW,))
    assert [item.state for item in _publish(server, CHANGE, other)] == ["already", "applied"]
    assert [item.state for item in _publish(server, CHANGE, other)] == ["already", "already"]
    assert len([kind for kind, _ in server.asked if kind == "update"]) == 1


# --- where the zone is ---


@pytest.mark.parametrize("code", ["REFUSED", "NOTAUTH"])
@pytest.mark.parametrize("signed", [True, False])
def test_a_server_that_has_no_such_zone(server, code, signed):
    def mood(_kind, _name, reply):
        if not signed:
            reply.tsig, reply.want_tsig_sign = None, False
        return code

    server.moods = [mood]
    assert _failed(_publish(server)) == (errors.UpdateError, "zone-not-here")
    assert server.asked == [("SOA", "www.example.com")]


def test_a_referral_is_no_zone(server):
    def mood(_kind, name, reply):
        if name == "www.example.com":
            reply.flags &= ~dns.flags.AA

    server.moods = [mood]
    assert _failed(_publish(server)) == (errors.UpdateError, "zone-not-here")
    # Nor is it one if the zone is named.
    assert _failed(_publish(server, zone="example.com")) == (errors.UpdateError, "zone-not-here")
    assert "update" not in [kind for kind, _ in server.asked]


def test_no_zone_up_to_the_top(server):
    server.zones.clear()
    assert _failed(_publish(server)) == (errors.UpdateError, "zone-not-here")
    assert [name for _, name in server.asked] == ["www.example.com", "example.com", "com"]


@pytest.mark.parametrize("zone", ["example.org", "ample.com", "www.example.com", "com"])
def test_a_zone_that_is_named_and_is_none(server, zone):
    assert _failed(_publish(server, zone=zone)) == (errors.UpdateError, "zone-not-here")
    assert server.sets["www.example.com"] == (300, [OLD])


@pytest.mark.parametrize(
    ("mood", "code"),
    [
        ("SERVFAIL", "server-failed"),
        (b"\0" * 12, "reply-other"),
        (b"short", "reply-malformed"),
        (b"", "reply-malformed"),
    ],
)
def test_a_server_that_cannot_say_which_zones_it_has_changes_nothing(server, mood, code):
    server.moods = [lambda _kind, _name, _reply: mood]
    with pytest.raises(errors.TransportError) as caught:
        _publish(server)
    assert caught.value.code == code
    assert [kind for kind, _ in server.asked] == ["SOA"]


def test_an_unsigned_answer_names_no_zone(server):
    def mood(_kind, _name, reply):
        reply.tsig, reply.want_tsig_sign = None, False

    server.moods = [mood]
    with pytest.raises(errors.TransportError) as caught:
        _publish(server)
    assert caught.value.code == "reply-unsigned"


def test_a_strange_refusal_is_that_of_one_place(server):
    server.moods = [lambda _kind, name, _reply: "NOTIMP" if name == "x.example.com" else None]
    outcomes = _publish(server, Change("x.example.com", (), (NEW,)), CHANGE)
    assert [(item.state, item.error and item.error.code) for item in outcomes] == [
        ("failed", "server-rcode"),
        ("applied", None),
    ]


# --- the update ---


def _at_update(what):
    return lambda kind, _name, _reply: what if kind == "update" else None


@pytest.mark.parametrize(
    ("mood", "kind", "code"),
    [
        ("REFUSED", errors.UpdateError, "server-refused"),
        ("NOTAUTH", errors.UpdateError, "server-not-authoritative"),
        ("NOTZONE", errors.UpdateError, "server-rcode"),
        ("SERVFAIL", errors.TransportError, "server-failed"),
        (b"\0" * 12, errors.TransportError, "reply-other"),
    ],
)
def test_an_update_that_is_refused_is_that_of_one_zone(server, mood, kind, code):
    server.zones["example.org"] = 30
    server.moods = [
        lambda asked, name, _reply: mood if (asked, name) == ("update", "example.com") else None
    ]
    first, second = _publish(server, CHANGE, Change("example.org", (), (NEW,)))
    assert _failed([first]) == (kind, code)
    assert second.state == "applied"
    assert server.sets["www.example.com"] == (300, [OLD])


def test_an_alias_that_comes_between_is_said(server):
    def mood(kind, name, reply):
        if kind == "update":
            server.sets = {}
            server.moods.append(alias)
            return "YXRRSET"
        return None

    def alias(kind, name, reply):
        if kind == "CAA":
            text = ("IN", "CNAME", "example.org.")
            reply.answer.append(dns.rrset.from_text(name + ".", 60, *text))

    server.sets, server.moods = {}, [mood]
    outcomes = _publish(server, Change("www.example.com", (), (NEW,)))
    assert _failed(outcomes) == (errors.UpdateError, "zone-moved")
    assert str(outcomes[0].error).endswith("than resolvers see: an alias")


def _meanwhile(server, records):
    """The zone is changed between the look and the update."""

    def mood(kind, _name, _reply):
        if kind != "update":
            return None
        server.sets["www.example.com"] = (300, records)
        return "NXRRSET"

    server.moods = [mood]


def test_a_change_that_somebody_made_meanwhile_is_done(server):
    _meanwhile(server, [NEW])
    (outcome,) = _publish(server)
    assert (outcome.state, outcome.error) == ("already", None)


def test_a_zone_that_moved_meanwhile_is_said_with_its_records(server):
    _meanwhile(server, [Record(0, b"issue", b"%d.test" % n) for n in range(12)])
    outcomes = _publish(server)
    assert _failed(outcomes) == (errors.UpdateError, "zone-moved")
    text = str(outcomes[0].error)
    assert text.startswith(
        f"127.0.0.1:{server.port} has other records at www.example.com than resolvers see: 0 issue"
    )
    # Not all of a thousand.
    assert text.count(".test") == 8
    assert text.endswith("; 4 more")


def test_of_two_places_the_one_that_moved_is_said(server):
    _meanwhile(server, [THIRD])
    first, second = _publish(server, Change("a.example.com", (), (NEW,)), CHANGE)
    assert first.error is second.error
    assert "has other records at www.example.com than" in str(first.error)
    assert THIRD.text() in str(first.error)


def test_a_server_that_does_something_else_is_caught(server):
    # As one that takes updates, and has a hook that writes its own records.
    def mood(kind, _name, _reply):
        if kind == "update":
            server.sets["www.example.com"] = (300, [NEW, THIRD])
            return "NOERROR"
        return None

    server.moods = [mood]
    outcomes = _publish(server)
    assert _failed(outcomes) == (errors.UpdateError, "zone-differs")
    assert str(outcomes[0].error).endswith(
        f"has other records at www.example.com now: {NEW.text()}; {THIRD.text()}"
    )


def test_a_server_that_falls_silent_after_the_update(server):
    def mood(kind, _name, _reply):
        if kind == "update":
            server.moods = [lambda *_asked: b""]
        return None

    server.moods = [mood]
    outcomes = _publish(server)
    assert _failed(outcomes) == (errors.TransportError, "read-back-failed")
    assert "answered NOERROR to the update of example.com, and then not" in str(outcomes[0].error)
    assert server.sets["www.example.com"] == (120, [NEW])


# --- the connection ---


def test_nobody_listens():
    with pytest.raises(errors.TransportError) as caught:
        primary.publish(primary.Primary("127.0.0.1", free_port(), KEY), [CHANGE], ttl=1)
    assert caught.value.code == "server-unreachable"
    assert str(caught.value).endswith(": Connection refused")


def test_a_server_that_says_nothing_is_waited_for_a_while(server):
    waiting = threading.Event()
    server.moods = [lambda *_asked: waiting.wait(5) and b""]
    with pytest.raises(errors.TransportError, match=r"no answer within 0\.2 seconds") as caught:
        _publish(server, timeout=0.2)
    waiting.set()
    assert caught.value.code == "server-unreachable"


def test_an_update_without_an_answer_may_have_been_made(server):
    waiting = threading.Event()
    server.moods = [
        lambda kind, _name, _reply: waiting.wait(5) and b"" if kind == "update" else None
    ]
    outcomes = _publish(server, timeout=1.0)
    waiting.set()
    assert _failed(outcomes) == (errors.TransportError, "server-unreachable")
    assert outcomes[0].error.hint == "whether it was done is not known; run it again, which is safe"


@pytest.fixture
def raw():
    """Start a server that sends these bytes, one piece after the other, and hangs up."""
    sockets = []

    def start(*pieces, pause=0.0):
        listening = socket.create_server(("127.0.0.1", 0))
        sockets.append(listening)

        def serve():
            with contextlib.suppress(OSError):
                stream, _ = listening.accept()
                with stream:
                    stream.recv(4096)
                    for piece in pieces:
                        stream.sendall(piece)
                        time.sleep(pause)

        threading.Thread(target=serve, daemon=True).start()
        return primary.Primary("127.0.0.1", listening.getsockname()[1], KEY, 0.5)

    yield start
    for listening in sockets:
        listening.close()


@pytest.mark.parametrize("pieces", [[], [b"\0"], [b"\0\x0c123"]])
def test_a_connection_that_ends_early(raw, pieces):
    with pytest.raises(errors.TransportError, match="the connection ended before the answer"):
        raw(*pieces).zone_of("example.com")


def test_an_answer_that_trickles_is_not_waited_for_for_ever(raw):
    server = raw(b"\xff\xff", *[b"x"] * 100, pause=0.02)
    with pytest.raises(errors.TransportError, match=r"no answer within 0\.5 seconds"):
        server.zone_of("example.com")

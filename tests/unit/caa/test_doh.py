# SPDX-License-Identifier: Apache-2.0
"""DNS over HTTPS without I/O: what goes to a server, and what is made of each thing it sends."""

import dns.exception
import dns.flags
import dns.message
import dns.rrset
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes, Settings
from hyperframe.frame import DataFrame, HeadersFrame, PingFrame, PushPromiseFrame, SettingsFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.caa import doh, http2
from certbot_enclave.caa.failures import explain
from certbot_enclave.caa.question import message
from certbot_enclave.caa.resolvers import parse_resolver, read

RESOLVER = parse_resolver("https://9.9.9.9/dns-query#dns.quad9.net")
TYPE = ("content-type", "application/dns-message")


class Peer:
    """A client and a server, with nothing between them."""

    def __init__(self, resolver=RESOLVER, **initial):
        self.client = http2.Multiplexer(doh.head(resolver))
        self.server = H2Connection(H2Configuration(client_side=False, header_encoding="ascii"))
        if initial:
            values = {SettingCodes[key]: value for key, value in initial.items()}
            self.server.local_settings = Settings(client=False, initial_values=values)
        self.server.initiate_connection()
        self.events, self.done = [], []

    def ask(self, name):
        exchange = doh.exchange_for(message(name))
        self.client.add(exchange)
        return exchange

    def settle(self):
        """Carry bytes to and fro until there are none."""
        while True:
            sent = self.client.to_send()
            if sent:
                self.events += self.server.receive_data(sent)
            came = self.server.data_to_send()
            if came:
                self.done += self.client.received(came)
            if not sent and not came:
                return

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    def reply(self, exchange, body=None, status="200", headers=(TYPE,), end=True):
        self.server.send_headers(exchange.stream, [(":status", status), *headers])
        body = answer(exchange.wire) if body is None else body
        for place in range(0, len(body), 16384):
            self.server.send_data(exchange.stream, body[place : place + 16384])
            self.settle()
        if end and not exchange.done:
            self.server.end_stream(exchange.stream)
        self.settle()


def answer(wire, ttl=300, soa=None):
    query = dns.message.from_wire(wire)
    found = dns.message.make_response(query, recursion_available=True)
    name = query.question[0].name
    if soa is None:
        found.answer.append(dns.rrset.from_text(name, ttl, "IN", "CAA", '0 issue "ca.test"'))
    else:
        found.authority.append(dns.rrset.from_text(name, soa, "IN", "SOA", ". . 1 1 1 1 1"))
    return found.to_wire()


def _asked(peer, name="a.test"):
    exchange = peer.ask(name)
    peer.settle()
    return exchange


def _failure(exchange):
    assert exchange.done
    with pytest.raises((errors.Error, OSError)) as caught:
        exchange.answer()
    return getattr(caught.value, "code", None), explain(caught.value, 1.0)


def test_a_question_is_one_post_to_the_name_and_the_path():
    peer = Peer()
    exchange = _asked(peer)
    (request,) = peer.of(RequestReceived)
    assert request.headers == [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "dns.quad9.net"),
        (":path", "/dns-query"),
        ("accept", "application/dns-message"),
        ("content-type", "application/dns-message"),
        ("content-length", str(len(exchange.wire))),
    ]
    assert b"".join(event.data for event in peer.of(DataReceived)) == exchange.wire
    assert len(peer.of(StreamEnded)) == 1
    assert dns.message.from_wire(exchange.wire).id == 0
    peer.reply(exchange)
    assert peer.done == [exchange]
    assert read("a.test", "label", exchange.answer()).ttl == 300


def test_another_port_is_part_of_the_authority():
    peer = Peer(parse_resolver("https://[::1]:8443/a/b#Dns.Test"))
    _asked(peer)
    (request,) = peer.of(RequestReceived)
    assert dict(request.headers)[":authority"] == "dns.test:8443"
    assert dict(request.headers)[":path"] == "/a/b"


def test_answers_come_in_any_order_each_to_its_question():
    peer = Peer()
    asked = [_asked(peer, f"n{number}.test") for number in range(20)]
    for exchange in reversed(asked):
        peer.reply(exchange)
    assert peer.done == asked[::-1]
    for number, exchange in enumerate(asked):
        assert exchange.answer().question[0].name.to_text() == f"n{number}.test."
    # What has ended by itself is not given up as well.
    assert peer.of(StreamReset) == []


def test_an_answer_to_another_question_is_refused():
    peer = Peer()
    one, other = _asked(peer, "one.test"), _asked(peer, "other.test")
    peer.reply(one, answer(other.wire))
    assert _failure(one) == (
        "answer-other",
        ("malformed answer: it answers another question", False),
    )


@pytest.mark.parametrize("status", ["201", "204", "301", "302", "307", "400", "404", "429", "500"])
def test_any_status_but_200_is_refused(status):
    peer = Peer()
    exchange = _asked(peer)
    peer.reply(exchange, status=status, headers=[TYPE, ("location", "https://127.0.0.1/x")])
    # Whoever says no is not asked again at once.
    assert _failure(exchange) == ("doh-status", (f"HTTP status {status}", False))
    assert len(peer.of(RequestReceived)) == 1


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ([], "no content type"),
        ([("content-type", "")], "no content type"),
        ([("content-type", "text/html")], "text/html"),
        ([("content-type", "application/dns-json")], "application/dns-json"),
        (
            [("content-type", "application/dns-message; a=b")],
            "application/dns-message; a=b",
        ),
        ([TYPE, TYPE], "application/dns-message, application/dns-message"),
        ([("content-type", "x" * 200)], "x" * 64),
        ([("content-type", "a\x1b[31m")], "a\\027[31m"),
    ],
)
def test_another_content_type_is_refused(headers, said):
    peer = Peer()
    exchange = _asked(peer)
    peer.server.config.validate_outbound_headers = False
    peer.reply(exchange, headers=headers, end=False)
    code, (text, again) = _failure(exchange)
    assert (code, again) == ("doh-type", False)
    assert text == f"malformed answer: expected application/dns-message, came {said}"


def test_the_case_of_a_content_type_means_nothing():
    peer = Peer()
    exchange = _asked(peer)
    peer.reply(exchange, headers=[("content-type", "Application/DNS-Message")])
    assert exchange.answer().answer


def test_a_coded_body_is_no_dns_message():
    peer = Peer()
    exchange = _asked(peer)
    peer.reply(exchange, b"\x1f\x8b\x08" + bytes(40), headers=[TYPE, ("content-encoding", "gzip")])
    assert exchange.error is None
    with pytest.raises((dns.exception.DNSException, errors.FormatError)):
        exchange.answer()


def test_the_largest_message_is_read_and_one_byte_more_is_refused():
    peer = Peer()
    exchange = _asked(peer)
    peer.reply(exchange, bytes(doh.BODY))
    assert (exchange.error, len(exchange.body)) == (None, doh.BODY)
    exchange = _asked(peer)
    peer.reply(exchange, bytes(doh.BODY + 1), end=False)
    assert _failure(exchange) == ("doh-size", ("malformed answer: more than 65535 bytes", False))
    assert len(exchange.body) <= doh.BODY
    # The server hears that the rest is not wanted, and the connection lives on.
    assert [event.stream_id for event in peer.of(StreamReset)] == [exchange.stream]
    exchange = _asked(peer)
    peer.reply(exchange)
    assert exchange.answer().answer


def test_what_is_refused_in_one_piece_with_its_end_is_not_reset():
    peer = Peer()
    exchange = _asked(peer)
    peer.server.send_headers(exchange.stream, [(":status", "500")])
    peer.server.send_data(exchange.stream, b"no", end_stream=True)
    peer.settle()
    assert _failure(exchange)[0] == "doh-status"
    assert peer.of(StreamReset) == []


def test_early_hints_and_trailers_are_passed_over():
    peer = Peer()
    exchange = _asked(peer)
    peer.server.send_headers(exchange.stream, [(":status", "103"), ("link", "x")])
    peer.settle()
    peer.reply(exchange, end=False)
    peer.server.send_headers(exchange.stream, [("x-trailer", "1")], end_stream=True)
    peer.settle()
    assert exchange.answer().answer


@pytest.mark.parametrize(("age", "ttl"), [(None, 300), ("0", 300), ("250", 50), ("300", 0)])
def test_the_time_in_caches_is_taken_off_the_ttl(age, ttl):
    peer = Peer()
    exchange = _asked(peer)
    peer.reply(exchange, headers=[TYPE, *([("age", age)] if age else [])])
    assert read("a.test", "label", exchange.answer()).ttl == ttl


@pytest.mark.parametrize("age", ["301", "9999999999"])
@pytest.mark.parametrize("soa", [None, 300])
def test_what_a_cache_kept_beyond_its_ttl_is_refused(age, soa):
    peer = Peer()
    exchange = _asked(peer)
    peer.reply(exchange, answer(exchange.wire, soa=soa), headers=[TYPE, ("age", age)])
    assert _failure(exchange) == (
        "doh-stale",
        ("malformed answer: a cache kept it beyond its TTL", False),
    )


@pytest.mark.parametrize(
    "ages", [[""], ["-1"], ["1.0"], ["x"], ["1, 2"], ["1", "1"], ["12345678901"], ["²"]]
)
def test_an_age_that_is_no_number_is_refused(ages):
    peer = Peer()
    exchange = _asked(peer)
    peer.reply(exchange, headers=[TYPE, *(("age", age) for age in ages)])
    assert _failure(exchange) == (
        "doh-age",
        ("malformed answer: an Age that is no number of seconds", False),
    )


def test_no_more_questions_at_once_than_the_server_takes():
    peer = Peer(MAX_CONCURRENT_STREAMS=3)
    asked = [peer.ask(f"n{number}.test") for number in range(8)]
    # Before its settings have come, one.
    peer.events += peer.server.receive_data(peer.client.to_send())
    assert len(peer.of(RequestReceived)) == 1
    peer.settle()
    assert len(peer.of(RequestReceived)) == 3
    for sent, exchange in enumerate(asked, 4):
        peer.reply(exchange)
        assert len(peer.of(RequestReceived)) == min(sent, 8)
    assert peer.done == asked


def test_a_server_that_takes_none_is_never_asked():
    peer = Peer(MAX_CONCURRENT_STREAMS=0)
    assert peer.done == []
    peer.client.to_send()
    list(peer.client.received(peer.server.data_to_send()))
    exchange = peer.ask("a.test")
    assert len(peer.client.to_send()) < len(exchange.wire)
    assert (exchange.stream, exchange.done) == (0, False)


def test_no_question_is_larger_than_the_windows():
    peer = Peer(INITIAL_WINDOW_SIZE=0)
    list(peer.client.received(peer.server.data_to_send()))
    exchange = _asked(peer)
    assert exchange.stream == 0
    peer.server.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 1000})
    peer.settle()
    assert exchange.stream == 1
    # The connection has a window too, which this server never enlarges.
    asked = [_asked(peer, f"{'x' * 60}.{number}.test") for number in range(1000)]
    sent = [exchange for exchange in asked if exchange.stream]
    assert 65535 - 200 < sum(len(exchange.wire) for exchange in sent) <= 65535
    peer.server.increment_flow_control_window(100000)
    peer.settle()
    assert all(exchange.stream for exchange in asked)


def test_a_question_that_is_dropped_is_given_up():
    peer = Peer(MAX_CONCURRENT_STREAMS=1)
    list(peer.client.received(peer.server.data_to_send()))
    one, two, three = (_asked(peer, name) for name in ("one.test", "two.test", "three.test"))
    peer.client.drop(two)
    peer.client.drop(one)
    peer.settle()
    assert [event.stream_id for event in peer.of(StreamReset)] == [one.stream]
    assert (two.stream, three.stream) == (0, one.stream + 2)
    peer.reply(three)
    assert peer.done == [three]
    # What is done, or was dropped before, is not given up again.
    for exchange in (one, two, three):
        peer.client.drop(exchange)
    peer.settle()
    assert len(peer.of(StreamReset)) == 1


def test_a_question_that_the_server_gives_up_may_be_asked_again():
    peer = Peer()
    one, two = _asked(peer, "one.test"), _asked(peer, "two.test")
    peer.server.reset_stream(one.stream, 7)
    peer.settle()
    assert _failure(one) == (None, ("HTTP/2: the server gave the question up", True))
    peer.reply(two)
    assert two.answer().answer


def test_the_end_of_a_connection_comes_after_the_answers_before_it():
    peer = Peer()
    one, two = _asked(peer, "one.test"), _asked(peer, "two.test")
    peer.server.send_headers(one.stream, [(":status", "200"), TYPE])
    peer.server.send_data(one.stream, answer(one.wire), end_stream=True)
    peer.server.close_connection()
    with pytest.raises(EOFError):
        peer.settle()
    assert peer.done == [one]
    assert one.answer().answer
    assert not two.done
    peer.client.drop(two)


@pytest.mark.parametrize("last", [b"", PingFrame(0, b"12345678").serialize(), b"\xff\xff\xff"])
def test_the_end_may_come_at_once_with_a_large_answer(last):
    peer = Peer()
    exchange = _asked(peer)
    peer.server.send_headers(exchange.stream, [(":status", "200"), TYPE])
    for place in range(0, 60_000, 12_000):
        peer.server.send_data(exchange.stream, bytes(12_000), end_stream=place == 48_000)
    sent = peer.server.data_to_send()
    peer.server.close_connection()
    done = []
    with pytest.raises(EOFError):
        done += peer.client.received(sent + peer.server.data_to_send() + last)
    assert (exchange.done, exchange.error, len(exchange.body)) == (True, None, 60_000)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n",
        b"\0\0\x09" + PingFrame(0, b"12345678").serialize()[3:] + b"9",
        (http2.FRAME + 1).to_bytes(3, "big"),
        HeadersFrame(1, b"\xff" * 30, flags=["END_HEADERS"]).serialize(),
        HeadersFrame(1, b"", flags=["END_HEADERS"]).serialize(),
        DataFrame(1, b"body before head").serialize(),
        DataFrame(99, b"nobody asked").serialize(),
        SettingsFrame(0, settings={4: 1 << 31}).serialize(),
        SettingsFrame(0, settings={2: 1}).serialize(),
        PushPromiseFrame(1, 2, b"\x82", flags=["END_HEADERS"]).serialize(),
    ],
    ids=["http1", "ping", "size", "hpack", "empty", "body", "stream", "window", "push-on", "push"],
)
def test_what_is_no_http2_is_a_failure_of_the_connection(data):
    peer = Peer()
    exchange = _asked(peer)
    with pytest.raises(ConnectionError) as caught:
        list(peer.client.received(data))
    text, again = explain(caught.value, 1.0)
    assert text.startswith("HTTP/2: ")
    assert text.isprintable()
    assert again
    # Dropping what was on the way does no harm then.
    peer.client.drop(exchange)


def test_frames_may_come_in_any_pieces():
    peer = Peer()
    exchange = _asked(peer)
    peer.server.send_headers(exchange.stream, [(":status", "200"), TYPE])
    peer.server.send_data(exchange.stream, answer(exchange.wire), end_stream=True)
    done = [list(peer.client.received(bytes([byte]))) for byte in peer.server.data_to_send()]
    assert done == [[]] * (len(done) - 1) + [[exchange]]
    assert exchange.answer().answer


def test_frames_between_two_answers_are_counted():
    peer = Peer()
    pings = PingFrame(0, b"12345678").serialize() * (http2.FRAMES // 2)
    for _ in range(5):
        exchange = _asked(peer)
        list(peer.client.received(pings))
        peer.reply(exchange)
        assert exchange.answer().answer
    list(peer.client.received(pings))
    with pytest.raises(ConnectionError, match="HTTP/2: frames without an answer"):
        list(peer.client.received(pings + pings[:17]))


def test_too_many_header_fields_are_refused():
    peer = Peer()
    exchange = _asked(peer)
    peer.server.send_headers(
        exchange.stream, [(":status", "200"), TYPE, *((f"x-{n}", "y" * 100) for n in range(600))]
    )
    with pytest.raises(ConnectionError):
        list(peer.client.received(peer.server.data_to_send()))


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=5))
@settings(max_examples=300, deadline=None)
def test_no_bytes_escape_as_an_exception(places):
    peer = Peer()
    exchange = _asked(peer)
    peer.server.send_headers(exchange.stream, [(":status", "200"), TYPE, ("age", "1")])
    peer.server.send_data(exchange.stream, answer(exchange.wire), end_stream=True)
    data = bytearray(peer.server.data_to_send())
    for place, byte in places:
        data[place % len(data)] = byte
    text = None
    try:
        list(peer.client.received(bytes(data)))
        peer.client.to_send()
        if exchange.done:
            read("a.test", "label", exchange.answer())
    except (errors.Error, OSError, EOFError, dns.exception.DNSException) as error:
        text, _ = explain(error, 1.0)
    assert text is None or text.isprintable()


@given(st.integers(0, 11), st.integers(0, 255), st.integers(0, 3), st.binary(max_size=80))
@settings(max_examples=1000, deadline=None)
def test_no_frames_escape_as_an_exception(kind, flags, stream, payload):
    peer = Peer()
    exchange = _asked(peer)
    head = len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big")
    text = None
    try:
        list(peer.client.received(head + payload))
    except (OSError, EOFError) as error:
        text, _ = explain(error, 1.0)
    assert text is None or text.isprintable()
    peer.client.drop(exchange)
    peer.client.to_send()

# SPDX-License-Identifier: Apache-2.0
"""DNS over HTTPS, one question at a time and many: real TLS and HTTP/2; Unbound, and liars."""

import asyncio
import contextlib
import http.server
import ssl
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import trustme
from h2.settings import SettingCodes

from certbot_enclave.caa import bulk, channels
from certbot_enclave.caa.resolvers import parse_resolver
from tests.support.world import https
from tests.support.world.dns import DnsWorld
from tests.support.world.https import HttpsServer

NAMES = [f"n{number}.example.test" for number in range(300)]


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def root(authority, tmp_path_factory):
    path = tmp_path_factory.mktemp("root") / "root.pem"
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope="module")
def world():
    with (
        tempfile.TemporaryDirectory(dir="/dev/shm") as state,
        DnsWorld(Path(state, "dns")) as world,
    ):
        world.caa("n7.example.test", https.CAA)
        yield world


def _alone(resolver, *names):
    return [resolver.ask(name) for name in names]


def _bulk(resolver, *names):
    async def run():
        async with bulk.Bulk([resolver]) as asking:
            found = await asyncio.gather(*(asking._answer(name) for name in names))
            return [item for (item,) in found]

    # No task of a connection may end with an exception that nobody looks at.
    with asyncio.Runner() as runner:
        complaints = []
        runner.get_loop().set_exception_handler(lambda _, context: complaints.append(context))
        found = runner.run(run())
    assert complaints == []
    return found


both = pytest.mark.parametrize("ask", [_alone, _bulk])


def _of(server, root, **changes):
    return replace(parse_resolver(server.address, roots=root), **changes)


def test_many_names_over_unbound(world):
    resolver = parse_resolver(world.resolver.https_address, roots=str(world.tls_root))
    found = _bulk(resolver, *NAMES)
    assert [item.name for item in found] == NAMES
    assert {(item.failure, item.authenticated) for item in found} == {(None, True)}
    assert [item.name for item in found if item.records] == ["n7.example.test"]


@both
def test_another_path_of_unbound_is_no_resolver(world, ask):
    resolver = parse_resolver(world.resolver.https_address, roots=str(world.tls_root))
    (found,) = ask(replace(resolver, path="/other"), "example.test")
    assert (found.failure, found.records) == ("HTTP status 404", ())


@both
def test_unbound_without_https_is_no_resolver(world, ask):
    resolver = parse_resolver(world.resolver.https_address, roots=str(world.tls_root))
    over_tls = replace(resolver, port=world.resolver.tls_port, timeout=0.5)
    (found,) = ask(over_tls, "example.test")
    assert found.failure == "no answer within 0.5 seconds"
    assert (found.records, found.authenticated) == ((), False)


@both
def test_the_truth_is_believed(authority, root, ask):
    with HttpsServer(authority) as server:
        (found,) = ask(_of(server, root), "a.test")
    assert (found.failure, found.authenticated, found.ttl) == (None, True, 300)
    assert [record.text() for record in found.records] == [https.CAA]
    (head,) = server.heads
    assert head[":authority"] == f"liar.test:{server.port}"
    assert (head[":method"], head[":path"]) == ("POST", "/dns-query")


@both
def test_neither_name_nor_root_may_be_another(authority, root, ask, tmp_path):
    with HttpsServer(authority) as server:
        (found,) = ask(_of(server, root, tls_name="other.test"), "a.test")
        assert found.failure.startswith("TLS: Hostname mismatch")
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
        (found,) = ask(_of(server, str(tmp_path / "other.pem")), "a.test")
        assert "certificate" in found.failure
        assert (found.records, server.heads) == ((), [])


@both
def test_neither_environment_nor_redirect_leads_elsewhere(authority, root, ask, monkeypatch):
    with HttpsServer(authority) as other, HttpsServer(authority) as server:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
        (found,) = ask(_of(server, root), "a.test")
        assert found.failure is None
        there = ("location", f"https://127.0.0.1:{other.port}/dns-query")
        for status in ("301", "302", "303", "307", "308"):
            server.act = lambda peer, number, wire, status=status: peer.reply(
                number, https.answer(wire), there, status=status
            )
            (found,) = ask(_of(server, root), "b.test")
            assert (found.failure, found.records) == (f"HTTP status {status}", ())
        # And whoever says no is not asked twice.
        assert server.asked == ["a.test"] + ["b.test"] * 5
        assert other.accepted == 0


class _Old(http.server.BaseHTTPRequestHandler):
    """DNS over HTTPS, but by HTTP/1.1."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = https.answer(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-type", https.MEDIA_TYPE)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@both
@pytest.mark.parametrize("alpn", [[], ["http/1.1"]])
def test_a_server_without_http2_is_refused_before_it_is_asked(authority, root, ask, alpn):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Old)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(https.NAME).configure_cert(context)
    if alpn:
        context.set_alpn_protocols(alpn)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # the client ends the connection
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        address = f"https://127.0.0.1:{server.server_port}/dns-query#{https.NAME}"
        (found,) = ask(parse_resolver(address, roots=root), "a.test")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (found.failure, found.records) == ("it does not speak HTTP/2", ())


@both
def test_a_server_that_promises_http2_and_speaks_something_else(authority, root, ask):
    def old(stream):
        stream.recv(1 << 16)
        stream.sendall(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")

    with HttpsServer(authority, raw=old) as server:
        (found,) = ask(_of(server, root), "a.test")
        assert found.failure == "HTTP/2: a frame of 4740180 bytes"
        assert server.accepted == 2


def _lie(*extra, body=None, **how):
    def act(peer, number, wire):
        peer.reply(number, https.answer(wire) if body is None else body(wire), *extra, **how)

    return act


LIES = [
    (_lie(status="503"), "HTTP status 503"),
    (
        _lie(media_type="text/html"),
        "malformed answer: expected application/dns-message, came text/html",
    ),
    (
        _lie(media_type=None),
        "malformed answer: expected application/dns-message, came no content type",
    ),
    (_lie(body=lambda wire: bytes(200_000)), "malformed answer: more than 65535 bytes"),
    (_lie(("age", "301")), "malformed answer: a cache kept it beyond its TTL"),
    (_lie(("age", "yes")), "malformed answer: an Age that is no number of seconds"),
    (
        _lie(body=lambda wire: https.answer(b"\0\1" + wire[2:])),
        "malformed answer: it answers another question",
    ),
    (_lie(body=lambda wire: wire), "malformed answer: it answers another question"),
    (_lie(body=lambda wire: https.answer(wire) + b"\0"), "malformed answer: "),
    (_lie(body=lambda wire: https.answer(wire)[:-1]), "malformed answer: "),
    (_lie(body=lambda wire: b""), "malformed answer: "),
    (_lie(body=lambda wire: b"\x1f\x8b" + wire[2:]), "malformed answer: "),
]


@both
@pytest.mark.parametrize(("act", "failure"), LIES, ids=map(str, range(len(LIES))))
def test_what_is_no_answer_is_a_failure(authority, root, ask, act, failure):
    with HttpsServer(authority, act) as server:
        (found,) = ask(_of(server, root), "a.test")
        assert server.asked == ["a.test"]
    assert found.failure.startswith(failure)
    assert found.failure == failure or failure == "malformed answer: "
    assert (found.records, found.authenticated, found.aliases) == ((), False, ())


@both
def test_the_age_is_taken_off_the_ttl(authority, root, ask):
    with HttpsServer(authority, _lie(("age", "250"))) as server:
        (found,) = ask(_of(server, root), "a.test")
    assert (found.failure, found.ttl) == (None, 50)


@both
def test_silence_is_a_failure_after_two_tries(authority, root, ask):
    with HttpsServer(authority, https.silence) as server:
        (found,) = ask(_of(server, root, timeout=0.3), "a.test")
        assert found.failure == "no answer within 0.3 seconds"
        assert (server.asked, server.accepted) == (["a.test"] * 2, 2)


@both
def test_the_second_try_counts(authority, root, ask):
    def act(peer, number, wire):
        if len(server.asked) > 1:
            https.truth(peer, number, wire)

    with HttpsServer(authority, act) as server:
        (found,) = ask(_of(server, root, timeout=1.0), "a.test")
    assert (found.failure, found.authenticated) == (None, True)


@both
def test_a_server_that_never_stops_talking_is_left(authority, root, ask):
    def talk(stream):
        frames = bytes(3) + b"\4" + bytes(5) + (b"\0\0\x08\6\0" + bytes(12)) * 50
        with contextlib.suppress(OSError):
            while True:
                stream.sendall(frames)

    with HttpsServer(authority, raw=talk) as server:
        (found,) = ask(_of(server, root), "a.test")
        assert server.accepted == 2
    assert found.failure == "HTTP/2: frames without an answer"


@both
def test_an_answer_in_drops_is_not_waited_for(authority, root, ask):
    # Each drop comes within the time for a try, and all of them do not.
    over = threading.Event()

    def drip(peer, number, wire):
        peer.http.send_headers(number, [(":status", "200"), ("content-type", https.MEDIA_TYPE)])
        with contextlib.suppress(OSError):
            while not over.wait(0.05):
                peer.http.send_data(number, b"x")
                peer.stream.sendall(peer.http.data_to_send())

    with HttpsServer(authority, drip) as server:
        (found,) = ask(_of(server, root, timeout=0.3), "a.test")
        over.set()
    assert found.failure == "no answer within 0.3 seconds"


@both
def test_a_connection_that_ends_is_tried_twice(authority, root, ask):
    def leave(peer, number, wire):
        peer.http.close_connection()

    for server in (HttpsServer(authority, leave), HttpsServer(authority, raw=lambda stream: None)):
        with server:
            (found,) = ask(_of(server, root), "a.test")
        # Which of the two it is depends on whether the question was read.
        assert found.failure in (
            "the connection ended before the answer",
            "Connection reset by peer",
        )
        assert server.accepted == 2


def test_many_questions_share_few_connections(authority, root):
    limits = {SettingCodes.MAX_CONCURRENT_STREAMS: 7, SettingCodes.INITIAL_WINDOW_SIZE: 400}
    with HttpsServer(authority, settings=limits) as server:
        found = _bulk(_of(server, root), *NAMES)
    assert [(item.name, item.failure) for item in found] == [(name, None) for name in NAMES]
    assert all(item.records for item in found)
    assert sorted(server.asked) == sorted(NAMES)
    assert server.accepted == channels.STREAMS


@pytest.mark.parametrize("limit", [1, 7])
def test_a_server_that_ends_connections_after_some_answers_loses_none(authority, root, limit):
    def act(peer, number, wire):
        if peer.answered < limit:
            https.truth(peer, number, wire)
            if peer.answered == limit:
                peer.http.close_connection()

    with HttpsServer(authority, act) as server:
        found = _bulk(_of(server, root, timeout=20.0), *NAMES[:60])
    assert [item.failure for item in found] == [None] * 60
    assert server.accepted >= 60 // limit


def test_one_that_is_silent_or_reset_does_not_hold_up_the_others(authority, root):
    def act(peer, number, wire):
        if b"n7" in wire:
            return
        if b"n8" in wire:
            peer.reset(number)
            return
        https.truth(peer, number, wire)

    with HttpsServer(authority, act) as server:
        found = _bulk(_of(server, root, timeout=1.0), *(f"n{number}.test" for number in range(10)))
        assert server.asked.count("n8.test") == 2
    assert {item.name: item.failure for item in found if item.failure} == {
        "n7.test": "no answer within 1 seconds",
        "n8.test": "HTTP/2: the server gave the question up",
    }


def test_after_some_failures_nobody_connects_any_more(authority, root):
    async def run():
        async with bulk.Bulk([resolver]) as asking:
            for number in range(20):
                (found,) = await asking._answer(f"n{number}.test")
                assert found.failure == "it does not speak HTTP/2"
            assert asking._lines[0]._streams._failures == channels.CONNECTS

    with HttpsServer(authority, alpn=[]) as server:
        resolver = _of(server, root)
        asyncio.run(run())

# SPDX-License-Identifier: Apache-2.0
"""The responder serves the given answers and nothing else, to all at once, until it is stopped."""

import http.client
import logging
import socket
import struct

import pytest
from acme import challenges
from josepy.jwk import JWKEC

from certbot_enclave import errors
from certbot_enclave.challenges import http01
from tests.support.world.process import free_port

KEY = JWKEC.fields_from_json(
    {
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    }
)


def _resource(token):
    chall = challenges.HTTP01(token=token.ljust(20, b"."))
    response, validation = chall.response_and_validation(KEY)
    return http01.Resource(chall, response, validation)


ONE, TWO = _resource(b"one"), _resource(b"two")


@pytest.fixture
def responder():
    with http01.Responder("127.0.0.1", 0, [ONE, TWO]) as started:
        yield started


def _ask(port, path, method="GET", host="127.0.0.1"):
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read(), answer.headers
    finally:
        connection.close()


def test_each_answer_is_served_under_its_own_path(responder):
    for resource in (ONE, TWO):
        status, body, headers = _ask(responder.port, resource.chall.path)
        assert (status, body) == (200, resource.validation.encode())
        assert headers["Content-Type"] == "application/octet-stream"
        assert headers["Content-Length"] == str(len(body))
    assert ONE.validation != TWO.validation


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/index.html",
        "/.well-known/acme-challenge/",
        "/.well-known/acme-challenge/unknown",
        ONE.chall.path + "x",
        ONE.chall.path[:-1],
        ONE.chall.path + "?query",
        "/x" + ONE.chall.path,
        "/.well-known/../.well-known/acme-challenge/" + ONE.chall.path.rpartition("/")[2],
    ],
)
def test_anything_else_is_not_there(responder, path):
    status, body, headers = _ask(responder.port, path)
    assert (status, body) == (404, b"")
    assert "Python" not in headers["Server"]


@pytest.mark.parametrize("method", ["HEAD", "POST", "PUT", "CONNECT"])
def test_other_methods_are_refused(responder, method):
    status, body, _ = _ask(responder.port, ONE.chall.path, method)
    assert status == 501
    assert ONE.validation.encode() not in body


def test_silent_strangers_delay_neither_the_ca_nor_the_stop(responder):
    strangers = [socket.create_connection(("127.0.0.1", responder.port)) for _ in range(20)]
    try:
        assert _ask(responder.port, ONE.chall.path)[0] == 200
        responder.stop()  # would wait for their silence to end, if it waited for them
    finally:
        for stranger in strangers:
            stranger.close()


def test_silence_has_an_end(monkeypatch):
    monkeypatch.setattr(http01._Handler, "timeout", 0.05)
    with (
        http01.Responder("127.0.0.1", 0, [ONE]) as started,
        socket.create_connection(("127.0.0.1", started.port), timeout=10) as stranger,
    ):
        stranger.sendall(b"GET ")
        assert stranger.recv(1) == b""  # the server hung up
    assert 0 < http01._PATIENCE <= 10


def test_client_that_hangs_up_leaves_no_traceback(responder, capfd):
    with socket.create_connection(("127.0.0.1", responder.port)) as stranger:
        # RST instead of FIN, so that reading fails on the other side.
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stranger.sendall(b"GET / HT")
    assert _ask(responder.port, ONE.chall.path)[0] == 200
    http01._Server.handle_error(responder._servers.servers[0], None, ("127.0.0.1", 1))
    assert capfd.readouterr() == ("", "")


def test_what_strangers_send_is_quoted_in_the_log(responder, caplog):
    caplog.set_level(logging.DEBUG, http01.logger.name)
    with socket.create_connection(("127.0.0.1", responder.port), timeout=10) as stranger:
        stranger.sendall(b"GET /\x1b[31m HTTP/1.0\r\n\r\n")
        assert stranger.recv(64).startswith(b"HTTP/1.0 404 ")
    assert r"\x1b[31m" in caplog.text
    assert "\x1b" not in caplog.text


PLACES = [("", "127.0.0.1"), ("127.0.0.1", "127.0.0.1")]
if socket.has_dualstack_ipv6():
    PLACES += [("", "::1"), ("::1", "::1")]


@pytest.mark.parametrize(("address", "host"), PLACES)
def test_both_protocols(address, host):
    with http01.Responder(address, 0, [ONE]) as started:
        assert _ask(started.port, ONE.chall.path, host=host)[:2] == (200, ONE.validation.encode())


def test_taken_port_is_said(responder):
    with pytest.raises(errors.TransportError) as caught:
        http01.Responder("127.0.0.1", responder.port, [ONE])
    assert caught.value.code == "http01-port"
    assert str(caught.value) == (
        f"cannot listen for http-01 on 127.0.0.1 port {responder.port}: Address already in use"
    )
    assert "--http-01-port" in caught.value.hint


@pytest.mark.parametrize(
    ("address", "port"), [("", 65536), ("", -1), ("192.0.2.1", 0), ("no/name", 0), ("a..b", 0)]
)
def test_place_that_cannot_be_listened_on_is_said(address, port):
    with pytest.raises(errors.TransportError, match=f"on {address or 'any address'} port {port}"):
        http01.Responder(address, port, [ONE])


def test_port_is_free_after_stop_and_stop_may_be_repeated():
    port = free_port()
    for _ in range(3):
        started = http01.Responder("127.0.0.1", port, [ONE])
        assert _ask(port, ONE.chall.path)[0] == 200
        started.stop()
        started.stop()
        with pytest.raises(ConnectionRefusedError):
            _ask(port, ONE.chall.path)
    assert not any(thread.is_alive() for thread in started._threads)


def test_name_of_the_machine_is_not_looked_up(monkeypatch):
    def asked(*_arguments):
        raise AssertionError("the resolver was asked")

    for name in ("getfqdn", "gethostbyaddr", "gethostname"):
        monkeypatch.setattr(socket, name, asked)
    with http01.Responder("", 0, [ONE]) as started:
        assert started.port > 0

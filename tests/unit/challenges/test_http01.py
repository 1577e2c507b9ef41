# SPDX-License-Identifier: Apache-2.0
"""http-01 is answered for the tokens of this order, and nothing else is served."""

import http.client
import socket

import josepy
import pytest
from acme import challenges
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_enclave import errors
from certbot_enclave.challenges.http01 import Resource, Responder
from tests.support.world.process import accepts, free_port, listener

KEY = josepy.jwk.JWKEC(key=ec.generate_private_key(ec.SECP256R1()))


def _resource(token):
    chall = challenges.HTTP01(token=token)
    response, validation = chall.response_and_validation(KEY)
    return Resource(chall, response, validation)


def _get(port, path, host="127.0.0.1"):
    connection = http.client.HTTPConnection(host, port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_serves_the_key_authorization_and_nothing_else():
    ours, other = _resource(b"a" * 32), _resource(b"b" * 32)
    unknown = (other.chall.path, "/.well-known/acme-challenge/")
    port = free_port()
    with Responder("127.0.0.1", port, [ours]):
        assert _get(port, ours.chall.path) == (200, ours.validation.encode())
        for path in ("/../etc/passwd", "/x"):
            assert _get(port, path)[0] == 404
        for path in unknown:  # acme's handler hangs up on tokens that it does not know
            with pytest.raises(http.client.RemoteDisconnected):
                _get(port, path)
    assert not accepts(port)


def test_serves_several_tokens_on_both_families():
    resources = [_resource(b"a" * 32), _resource(b"b" * 32)]
    port = free_port()
    families = ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]
    with Responder("", port, resources):
        for host in families:
            for resource in resources:
                expected = (200, resource.validation.encode())
                assert _get(port, resource.chall.path, host) == expected


def test_taken_port_is_said_and_what_to_do():
    port = free_port()
    with listener(port), pytest.raises(errors.TransportError, match=str(port)) as caught:
        Responder("127.0.0.1", port, [])
    assert caught.value.code == "http01-port"
    assert "--http-01-port" in caught.value.hint


def test_stopping_twice_is_harmless_and_frees_the_port():
    port = free_port()
    responder = Responder("127.0.0.1", port, [])
    responder.stop()
    responder.stop()
    with Responder("127.0.0.1", port, []):
        assert accepts(port)

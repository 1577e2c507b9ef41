# SPDX-License-Identifier: Apache-2.0
"""The resolver client against a one-answer DNS server on loopback."""

import contextlib
import select
import socket
import struct
import threading

import dns.flags
import dns.message
import dns.rrset
import pytest

from tests.support.ca.caa import Answer, LookupFailed
from tests.support.ca.problem import Problem
from tests.support.ca.resolver import Resolver


def respond(query: bytes, records: list[str], flags: int = 0) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(query))
    response.flags |= flags
    for text in records:
        owner, kind, data = text.split(" ", 2)
        response.answer.append(dns.rrset.from_text(owner, 60, "IN", kind, data))
    return response.to_wire()


@contextlib.contextmanager
def server(udp, tcp=lambda query: b""):
    """Answer each query with what the functions return; yields host:port."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        socket.create_server(("127.0.0.1", 0)) as stream,
    ):
        datagrams.bind(stream.getsockname())

        quit_, told = socket.socketpair()

        def serve():
            while True:
                ready, _, _ = select.select([datagrams, stream, told], [], [])
                if told in ready:
                    return
                if datagrams in ready:
                    query, peer = datagrams.recvfrom(4096)
                    for answer in udp(query):
                        datagrams.sendto(answer, peer)
                if stream in ready:
                    connection, _ = stream.accept()
                    with connection:
                        answer = tcp(connection.recv(4096)[2:])
                        connection.sendall(struct.pack("!H", len(answer)) + answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{stream.getsockname()[1]}"
        finally:
            quit_.close()
            thread.join(5)
            told.close()


ISSUE = 'example.test. CAA 0 issue "ca.test"'


def test_caa_over_udp_asks_for_ad_and_ignores_a_forged_id():
    seen = []

    def udp(query):
        seen.append(dns.message.from_wire(query))
        forged = bytes([query[0] ^ 0xFF]) + respond(query, [])[1:]
        return [forged, respond(query, [ISSUE])]

    with server(udp) as address:
        assert Resolver(address).caa("example.test") == Answer((b"\0\5issueca.test",))
    assert seen[0].flags & dns.flags.AD
    assert seen[0].question[0].to_text() == "example.test. IN CAA"


@pytest.mark.parametrize(
    ("flags", "expected"), [(0, Answer((b"\0\5issueca.test",))), (dns.flags.TC, True)]
)
def test_a_truncated_answer_is_asked_again_over_tcp(flags, expected):
    with server(
        lambda query: [respond(query, [], dns.flags.TC)],
        lambda query: respond(query, [ISSUE], flags),
    ) as address:
        got = Resolver(address).caa("example.test")
    assert expected in (got, got.truncated)


def test_silence_is_a_failed_lookup():
    with server(lambda query: []) as address, pytest.raises(LookupFailed, match="in time"):
        Resolver(address, timeout=0.05).caa("example.test")


def test_a_closed_port_is_a_failed_lookup():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(LookupFailed):
        Resolver(f"127.0.0.1:{port}", timeout=0.05).caa("example.test")


def test_addresses_follow_aliases():
    records = ["example.test. CNAME web.test.", "web.test. A 192.0.2.7"]
    with server(lambda query: [respond(query, records)]) as address:
        assert Resolver(address).addresses("example.test") == ["192.0.2.7"]


def test_no_address_is_a_dns_problem():
    with server(lambda query: [respond(query, [])]) as address, pytest.raises(Problem) as caught:
        Resolver(address).addresses("example.test")
    assert caught.value.type == "dns"

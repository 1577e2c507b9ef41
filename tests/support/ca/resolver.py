# SPDX-License-Identifier: Apache-2.0
"""Questions to the validating resolver: CAA by hand (see wire.py), addresses with dnspython."""

from __future__ import annotations

import secrets
import socket
import struct
import time

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype

from tests.support.ca import wire
from tests.support.ca.caa import Answer, LookupFailed
from tests.support.ca.problem import Problem

UDP_ATTEMPTS = 2
UDP_PAYLOAD = 1232


class Resolver:
    """One resolver at an IPv4 address.

    Args:
        address: ``host:port``.
        timeout: Seconds for each attempt.
    """

    def __init__(self, address: str, timeout: float = 3.0) -> None:
        host, _, port = address.rpartition(":")
        self._server = (host, int(port))
        self._timeout = timeout

    def caa(self, name: str) -> Answer:
        """The CAA answer for one name: UDP, then TCP if it was truncated.

        Raises:
            LookupFailed: No answer that can be read.
        """
        ident = secrets.randbelow(0x10000)
        try:
            query = dns.message.make_query(name + ".", "CAA", use_edns=0, payload=UDP_PAYLOAD)
            query.id = ident
            query.flags |= dns.flags.AD
            packet = query.to_wire()
            answer = self._udp(packet, ident, name)
            if answer.truncated:
                answer = wire.read_answer(self._tcp(packet), ident, name)
        except (OSError, dns.exception.DNSException) as e:
            raise LookupFailed(f"{type(e).__name__}: {e}") from e
        return answer

    def _udp(self, packet: bytes, ident: int, name: str) -> Answer:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(self._server)
            for _ in range(UDP_ATTEMPTS):
                sock.send(packet)
                end = time.monotonic() + self._timeout
                while (left := end - time.monotonic()) > 0:
                    sock.settimeout(left)
                    try:
                        message = sock.recv(65535)
                    except TimeoutError:
                        break
                    if message[:2] == ident.to_bytes(2, "big"):
                        return wire.read_answer(message, ident, name)
        raise LookupFailed("the resolver did not answer in time")

    def _tcp(self, packet: bytes) -> bytes:
        with socket.create_connection(self._server, self._timeout) as sock:
            sock.sendall(struct.pack("!H", len(packet)) + packet)
            with sock.makefile("rb") as stream:
                length = int.from_bytes(stream.read(2), "big")
                return stream.read(length)

    def addresses(self, name: str) -> list[str]:
        """The IPv4 addresses of a name, aliases followed by the resolver.

        Raises:
            Problem: ``dns``: there is none, or the resolver failed.
        """
        query = dns.message.make_query(name + ".", "A", use_edns=0, payload=UDP_PAYLOAD)
        host, port = self._server
        try:
            answer, _ = dns.query.udp_with_fallback(query, host, self._timeout, port)
        except (OSError, dns.exception.DNSException) as e:
            raise Problem("dns", f"could not look up A for {name}: {type(e).__name__}") from e
        found = [
            str(record)
            for rrset in answer.answer
            if rrset.rdtype == dns.rdatatype.A
            for record in rrset
        ]
        if not found:
            code = dns.rcode.to_text(answer.rcode())
            raise Problem("dns", f"no address found for {name}: {code} looking up A")
        return found

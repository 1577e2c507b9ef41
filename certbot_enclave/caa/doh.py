# SPDX-License-Identifier: Apache-2.0
"""DNS over HTTPS (RFC 8484): one question is one POST on a stream of an HTTP/2 connection.

Nothing else of HTTP is here to be abused: no redirects, proxies, cookies, codings or environment,
and no other version, since many questions share a connection (`certbot_enclave.caa.http2`). What a
question and its answer are is said here, without I/O. There are two drivers: `ask`, for one
question, and `certbot_enclave.caa.channels`, for many.

POST, because a cache may not answer it (RFC 9111 §4), and because no path holds the question then.
"""

from __future__ import annotations

import importlib
import re
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from certbot_enclave import errors
from certbot_enclave.caa import grammar, http2

if TYPE_CHECKING:
    from dns.message import Message

    from certbot_enclave.caa.question import Query
    from certbot_enclave.caa.resolvers import DnsResolver

PORT = 443
ALPN = "h2"
MEDIA_TYPE = b"application/dns-message"
BODY = 65535  # bytes: the largest DNS message (RFC 8484 §6)
_AGE = re.compile(rb"[0-9]{1,10}")  # seconds (RFC 9111 §5.1)


def require_library() -> None:
    """Refuse to begin without the library.

    Raises:
        PolicyError: It is not installed (``doh-missing``).
    """
    try:
        importlib.import_module("h2.connection")
    except ImportError as error:
        raise errors.PolicyError(
            "DNS over HTTPS needs the package h2, and there is none",
            code="doh-missing",
            hint="pip install 'certbot-enclave[doh]'",
        ) from error


def require_http2(chosen: str | None) -> None:
    """Refuse a server that did not choose HTTP/2.

    Args:
        chosen: What the TLS handshake (ALPN) ended with.

    Raises:
        TransportError: It is something else (``doh-version``).
    """
    if chosen != ALPN:
        raise errors.TransportError("it does not speak HTTP/2", code="doh-version")


@dataclass(eq=False)
class Exchange:
    """One question, and what came of it.

    Attributes:
        query: The question.
        wire: Its bytes.
        stream: Its HTTP/2 stream; 0 before it is sent.
        done: Nothing more comes.
        error: Why there is no answer.
        age: Seconds for which caches kept the answer.
        body: What came of it so far.
    """

    query: Query
    wire: bytes
    stream: int = 0
    done: bool = False
    error: Exception | None = None
    age: int = 0
    body: bytearray = field(default_factory=bytearray)

    def answer(self) -> Message:
        """Read what came.

        Raises:
            TransportError, FormatError, DNSException, OSError: There is no answer to the question.
        """
        from certbot_enclave.caa.resolvers import parse

        if self.error is not None:
            raise self.error
        return _aged(parse(self.query, bytes(self.body)), self.age)

    def begin(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Take the header fields of the response.

        Raises:
            TransportError: It is no success.
            FormatError: It is something else than a DNS message.
        """
        status = dict(headers)[b":status"]
        if status != b"200":
            raise errors.TransportError(f"HTTP status {grammar.escaped(status)}", code="doh-status")
        types = [value for name, value in headers if name == b"content-type"]
        if [value.lower() for value in types] != [MEDIA_TYPE]:
            said = b", ".join(types)[:64].decode("latin-1")
            raise errors.FormatError(
                f"expected {MEDIA_TYPE.decode()}, came {said or 'no content type'}", code="doh-type"
            )
        ages = [value for name, value in headers if name == b"age"] or [b"0"]
        if len(ages) > 1 or not _AGE.fullmatch(ages[0]):
            raise errors.FormatError("an Age that is no number of seconds", code="doh-age")
        self.age = int(ages[0])

    def take(self, data: bytes) -> None:
        """Take a part of the body.

        Raises:
            FormatError: It is more than a DNS message can be.
        """
        if len(self.body) + len(data) > BODY:
            raise errors.FormatError(f"more than {BODY} bytes", code="doh-size")
        self.body += data


def _aged(answer: Message, age: int) -> Message:
    """Take the time in caches off the TTLs (RFC 8484 §5.1).

    Raises:
        FormatError: A record was kept longer than its TTL.
    """
    for rrset in (*answer.answer, *answer.authority):
        if rrset.ttl < age:
            raise errors.FormatError("a cache kept it beyond its TTL", code="doh-stale")
        rrset.ttl -= age
    return answer


def head(resolver: DnsResolver) -> list[tuple[bytes, bytes]]:
    """Return the header fields of every request to a resolver, but for its length."""
    port = "" if resolver.port == PORT else f":{resolver.port}"
    return [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":authority", f"{resolver.tls_name}{port}".encode()),
        (b":path", f"{resolver.path}".encode()),
        (b"accept", MEDIA_TYPE),
        (b"content-type", MEDIA_TYPE),
    ]


def exchange_for(query: Query) -> Exchange:
    """Begin the exchange of a question; its id becomes 0 (RFC 8484 §4.1)."""
    query.id = 0  # the stream tells whose answer it is
    return Exchange(query, query.to_wire())


def ask(query: Query, resolver: DnsResolver) -> Message:
    """Ask one question over a connection of its own.

    Args:
        query: The question.
        resolver: Whom; its time-out is for all of it.

    Raises:
        TransportError, FormatError, DNSException, OSError, EOFError: There is no answer.
    """
    until = time.monotonic() + resolver.timeout

    def left() -> float:
        seconds = until - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        return seconds

    context = resolver.context()
    place = (resolver.address, resolver.port)
    with socket.create_connection(place, resolver.timeout) as plain:
        plain.settimeout(left())
        with context.wrap_socket(plain, server_hostname=resolver.tls_name) as stream:
            require_http2(stream.selected_alpn_protocol())
            http = http2.Multiplexer(head(resolver))
            exchange = exchange_for(query)
            http.add(exchange)
            while not exchange.done:
                stream.settimeout(left())
                stream.sendall(http.to_send())
                stream.settimeout(left())
                data = stream.recv(http2.CHUNK)
                if not data:
                    raise EOFError
                deque(http.received(data), maxlen=0)
    return exchange.answer()

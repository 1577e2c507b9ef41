# SPDX-License-Identifier: Apache-2.0
"""Validating resolvers: on loopback in plain, anywhere else over TLS authenticated by name.

The AD bit is the resolver's word. From a validator inside the image it may come over UDP; the host
could forge it on any other path, so elsewhere the resolver proves its name (DNS over TLS, RFC 7858
with RFC 8310's strict profile).
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certbot_enclave import errors
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Answer

if TYPE_CHECKING:
    from dns.message import Message

TIMEOUT = 5.0  # seconds for one try
TRIES = 2
PAYLOAD = 1232  # bytes of EDNS payload (DNS flag day 2020)
_FORM = re.compile(
    r"(?P<tls>tls://)?(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+))(?::(?P<port>[0-9]{1,5}))?"
    r"(?:#(?P<name>[A-Za-z0-9.-]+))?"
)


@dataclass(frozen=True)
class DnsResolver:
    """One resolver.

    Attributes:
        label: The text that named it.
        address: IP address.
        port: UDP and TCP, or TLS.
        tls_name: Name that its certificate must prove; None for plain DNS on loopback.
        roots: PEM file of roots in place of the system's.
        timeout: Seconds for one try.
    """

    label: str
    address: str
    port: int
    tls_name: str | None = None
    roots: str | None = None
    timeout: float = TIMEOUT

    def ask(self, name: str) -> Answer:
        """Ask for the CAA records of a name; what goes wrong is in `Answer.failure`."""
        import dns.exception

        failure = "no try was made"
        for _ in range(TRIES):
            try:
                return _read(name, self.label, self._exchange(name))
            except dns.exception.Timeout:
                failure = f"no answer within {self.timeout:g} seconds"
            except ssl.SSLError as error:
                failure = f"TLS: {error.reason or error}"
            except OSError as error:
                failure = f"{error.strerror or error}"
            except (dns.exception.DNSException, EOFError) as error:
                return Answer(
                    name, self.label, failure=f"malformed answer: {type(error).__name__} {error}"
                )
        return Answer(name, self.label, failure=failure)

    def _exchange(self, name: str) -> Message:
        import dns.flags
        import dns.message
        import dns.query
        import dns.rdatatype

        query = dns.message.make_query(
            name + ".",
            dns.rdatatype.CAA,
            flags=dns.flags.RD | dns.flags.AD,
            use_edns=0,
            ednsflags=dns.flags.DO,
            payload=PAYLOAD,
        )
        if self.tls_name is None:
            answer, _ = dns.query.udp_with_fallback(
                query, self.address, timeout=self.timeout, port=self.port
            )
            return answer
        context = ssl.create_default_context(cafile=self.roots)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return dns.query.tls(
            query,
            self.address,
            timeout=self.timeout,
            port=self.port,
            ssl_context=context,
            server_hostname=self.tls_name,
        )


def _extended_error(answer: Message) -> str:
    import dns.edns

    texts = [
        f"EDE {int(option.code)} {option.text or ''}".rstrip()
        for option in answer.options
        if isinstance(option, dns.edns.EDEOption)
    ]
    return f" ({'; '.join(texts)})" if texts else ""


def _alias(name: str, answer: Message) -> str | None:
    """Follow CNAME in the answer from the question; return where it ends, if anywhere else."""
    import dns.name
    import dns.rdatatype

    links = {
        rrset.name: rrset[0].target
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.CNAME
    }
    start = at = dns.name.from_text(name + ".")
    for _ in links:
        at = links.get(at, at)
    return None if at == start else at.to_text(omit_final_dot=True).lower()


def _read(name: str, label: str, answer: Message) -> Answer:
    import dns.flags
    import dns.rcode
    import dns.rdatatype

    rcode = answer.rcode()
    # NXDOMAIN of a TLD means a broken view of the root, and Boulder takes it for an error.
    absent = rcode == dns.rcode.NXDOMAIN and "." in name
    if answer.flags & dns.flags.TC:
        return Answer(name, label, failure="truncated answer")
    if rcode != dns.rcode.NOERROR and not absent:
        return Answer(name, label, failure=dns.rcode.to_text(rcode) + _extended_error(answer))
    records = {
        Record(item.flags, item.tag, item.value)
        for rrset in answer.answer
        if rrset.rdtype == dns.rdatatype.CAA
        for item in rrset
    }
    return Answer(
        name,
        label,
        tuple(sorted(records)),
        authenticated=bool(answer.flags & dns.flags.AD),
        alias=_alias(name, answer),
    )


def parse_resolver(text: str, *, roots: str | None = None, timeout: float = TIMEOUT) -> DnsResolver:
    """Read how a resolver is named.

    Args:
        text: ``127.0.0.1``, ``127.0.0.1:5353``, ``[::1]:53``; ``tls://9.9.9.9#dns.quad9.net``,
            ``tls://9.9.9.9:853#dns.quad9.net``.
        roots: PEM file of roots for TLS in place of the system's.
        timeout: Seconds for one try.

    Raises:
        PolicyError: It is none of these (``resolver-invalid``), or plain and not on loopback
            (``resolver-plain``).
    """
    match = _FORM.fullmatch(text)
    try:
        if match is None:
            raise ValueError("form")
        address = ipaddress.ip_address(match["six"] or match["four"])
        port = int(match["port"] or (853 if match["tls"] else 53))
        if not 1 <= port <= 65535 or bool(match["tls"]) != bool(match["name"]):
            raise ValueError("port or name")
    except ValueError as error:
        raise errors.PolicyError(
            f"{text!r} names no resolver: expected a loopback IP[:PORT] or tls://IP[:PORT]#NAME",
            code="resolver-invalid",
        ) from error
    if not match["tls"] and not address.is_loopback:
        raise errors.PolicyError(
            f"{text} is plain DNS and not on loopback: the host can forge its answers",
            code="resolver-plain",
            hint=f"use DNS over TLS: tls://{text}#NAME",
        )
    return DnsResolver(text, str(address), port, match["name"], roots, timeout)

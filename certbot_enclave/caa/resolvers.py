# SPDX-License-Identifier: Apache-2.0
"""Validating resolvers: on loopback in plain, anywhere else over TLS authenticated by name.

The AD bit is the resolver's word. From a validator inside the image it may come over UDP; the host
could forge it on any other path, so elsewhere the resolver proves its name (DNS over TLS, RFC 7858
with RFC 8310's strict profile; DNS over HTTPS, RFC 8484, in `certbot_enclave.caa.doh`).
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from certbot_enclave import errors
from certbot_enclave.caa import doh, failures, grammar, question
from certbot_enclave.caa.grammar import Record
from certbot_enclave.caa.lookup import Answer
from certbot_enclave.caa.question import Query

if TYPE_CHECKING:
    from dns.message import Message
    from dns.name import Name

TIMEOUT = 5.0  # seconds for one try
TRIES = 2
_FORM = re.compile(
    r"(?:(?P<scheme>tls|https)://)?(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<four>[0-9.]+))"
    r"(?::(?P<port>[0-9]{1,5}))?(?P<path>/[A-Za-z0-9._~/-]{1,255})?"
    r"(?:#(?P<name>[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
    r"(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*))?"
)
_PORTS = {None: 53, "tls": 853, "https": doh.PORT}


@dataclass(frozen=True)
class DnsResolver:
    """One resolver.

    Attributes:
        label: The text that named it.
        address: IP address.
        port: UDP and TCP, or TLS, or HTTPS.
        tls_name: Name that its certificate must prove; None for plain DNS on loopback.
        roots: PEM file of roots in place of the system's.
        timeout: Seconds for one try.
        path: Where on its server DNS over HTTPS is; None for DNS itself.
    """

    label: str
    address: str
    port: int
    tls_name: str | None = None
    roots: str | None = None
    timeout: float = TIMEOUT
    path: str | None = None

    def ask(self, name: str) -> Answer:
        """Ask for the CAA records of a name; what goes wrong is in `Answer.failure`."""
        failure = "no try was made"
        for _ in range(TRIES):
            try:
                return read(name, self.label, self._exchange(name))
            except failures.kinds() as error:
                failure, again = failures.explain(error, self.timeout)
                if not again:
                    break
        return Answer(name, self.label, failure=failure)

    def _exchange(self, name: str) -> Message:
        query = question.message(name)
        if self.path is not None:
            return doh.ask(query, self)
        import dns.query

        if self.tls_name is None:
            answer, _ = dns.query.udp_with_fallback(
                query, self.address, timeout=self.timeout, port=self.port
            )
            return answer
        return dns.query.tls(
            query,
            self.address,
            timeout=self.timeout,
            port=self.port,
            ssl_context=self.context(),
            server_hostname=self.tls_name,
        )

    def context(self) -> ssl.SSLContext:
        """Return what its certificate is checked with.

        Raises:
            OSError: The roots cannot be read, or are none.
        """
        context = ssl.create_default_context(cafile=self.roots)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.path is not None:
            context.set_alpn_protocols([doh.ALPN])
        return context


def parse(query: Query, wire: bytes, *, raise_on_truncation: bool = False) -> Message:
    """Read the bytes of a response.

    Args:
        query: The question.
        wire: What came.
        raise_on_truncation: Raise `dns.message.Truncated` if it says that it is.

    Raises:
        FormatError: It answers something else.
        DNSException: It is no DNS message, or truncated.
    """
    import dns.message

    answer = dns.message.from_wire(wire, raise_on_truncation=raise_on_truncation)
    if not query.is_response(answer):
        raise errors.FormatError("it answers another question", code="answer-other")
    return answer


def _extended_error(answer: Message) -> str:
    import dns.edns

    texts = [
        grammar.escaped(option.to_text().encode("utf-8", "backslashreplace"))
        for option in answer.options
        if isinstance(option, dns.edns.EDEOption)
    ]
    return f" ({'; '.join(texts)})" if texts else ""


def _chain(start: Name, answer: Message) -> list[Name]:
    """Follow CNAME from the question; return every name on the way, the question first.

    A resolver sends the CNAME that a DNAME means along with it (RFC 6672 §3.1). What stands in
    the answer beside that one chain is nobody's: it could hide an alias, or be a record of another
    name.

    Raises:
        FormatError: The answer section is more or less than one chain and its end.
    """
    import dns.rdataclass
    import dns.rdatatype

    sets = answer.answer
    if any(rrset.rdclass != dns.rdataclass.IN for rrset in sets):
        raise errors.FormatError("records of another class", code="answer-class")
    links = {rrset.name: rrset[0].target for rrset in sets if rrset.rdtype == dns.rdatatype.CNAME}
    chain = [start]
    while chain[-1] in links:
        chain.append(links.pop(chain[-1]))
    if links or len(set(chain)) < len(chain):
        raise errors.FormatError(
            "aliases that form no chain from the question", code="answer-chain"
        )
    for rrset in sets:
        if rrset.rdtype == dns.rdatatype.CAA and rrset.name != chain[-1]:
            raise errors.FormatError(
                "CAA records of a name that was not asked about", code="answer-owner"
            )
        if rrset.rdtype == dns.rdatatype.DNAME:
            below = [name != rrset.name and name.is_subdomain(rrset.name) for name in chain]
            if below[-1] or not any(below):
                raise errors.FormatError(
                    "a DNAME without the CNAME that it means", code="answer-dname"
                )
    return chain


def unusable(name: str, answer: Message, *, authoritative: bool = False) -> str | None:
    """Tell why a response says nothing about a name, or None if it does.

    Args:
        name: The name asked about.
        answer: What came.
        authoritative: A server of the zone was asked, and no resolver.
    """
    import dns.flags
    import dns.rcode

    rcode = answer.rcode()
    if answer.flags & dns.flags.TC:
        return "truncated answer"
    # NXDOMAIN of a TLD means a broken view of the root, and Boulder takes it for an error.
    if rcode != dns.rcode.NOERROR and not (rcode == dns.rcode.NXDOMAIN and "." in name):
        return dns.rcode.to_text(rcode) + _extended_error(answer)
    # A referral has no records either, and means nothing.
    if authoritative and not answer.flags & dns.flags.AA:
        return "it is not authoritative for the name"
    if not authoritative and not answer.flags & dns.flags.RA:
        return "it is no resolver: recursion is not available"
    return None


def read(name: str, label: str, answer: Message, *, authoritative: bool = False) -> Answer:
    """Read a response that matches the question.

    Args:
        name: The name asked about.
        label: Who answered.
        answer: What came.
        authoritative: A server of the zone was asked, and no resolver.

    Raises:
        FormatError: The answer contradicts itself.
    """
    from dns.flags import AD
    from dns.rcode import NXDOMAIN
    from dns.rdatatype import CAA, RRSIG

    failure = unusable(name, answer, authoritative=authoritative)
    if failure is not None:
        return Answer(name, label, failure=failure)
    chain = _chain(question.absolute(name), answer)
    records: set[Record] = set()
    ttls, signed, synthesized = [], [], False
    for rrset in answer.answer:
        if rrset.rdtype == RRSIG:
            signed += [item.original_ttl for item in rrset]
            # A signature that counts fewer labels than its owner has is that of a wildcard. That of
            # an alias says nothing about the records at its end.
            if rrset.covers == CAA:
                labels = len(rrset.name) - 1
                synthesized |= any(item.labels < labels for item in rrset)
            continue
        ttls.append(rrset.ttl)
        if rrset.rdtype == CAA:
            records.update([Record(item.flags, item.tag, item.value) for item in rrset])
    if records and answer.rcode() == NXDOMAIN:
        raise errors.FormatError("records of a name that does not exist", code="answer-nxdomain")
    return Answer(
        name,
        label,
        tuple(sorted(records)),
        authenticated=bool(answer.flags & AD),
        aliases=tuple([link.to_text(omit_final_dot=True).lower() for link in chain[1:]]),
        ttl=min(ttls) if records else None,
        synthesized=synthesized,
        signed_ttl=max(signed, default=None) if records else None,
    )


def parse_resolver(text: str, *, roots: str | None = None, timeout: float = TIMEOUT) -> DnsResolver:
    """Read how a resolver is named.

    Args:
        text: ``127.0.0.1``, ``127.0.0.1:5353``, ``[::1]:53``; ``tls://9.9.9.9#dns.quad9.net``,
            ``tls://9.9.9.9:853#dns.quad9.net``; ``https://9.9.9.9/dns-query#dns.quad9.net``,
            ``https://9.9.9.9:443/dns-query#dns.quad9.net``.
        roots: PEM file of roots for TLS in place of the system's.
        timeout: Seconds for one try.

    Raises:
        PolicyError: It is none of these (``resolver-invalid``), or plain and not on loopback
            (``resolver-plain``), or HTTPS without the library for it (``doh-missing``).
    """
    match = _FORM.fullmatch(text)
    try:
        if match is None:
            raise ValueError("form")
        address = ipaddress.ip_address(match["six"] or match["four"])
        scheme = match["scheme"]
        port = int(match["port"] or _PORTS[scheme])
        if not 1 <= port <= 65535 or bool(scheme) != bool(match["name"]):
            raise ValueError("port or name")
        if (scheme == "https") != bool(match["path"]):
            raise ValueError("path")
    except ValueError as error:
        raise errors.PolicyError(
            f"{text!r} names no resolver: expected a loopback IP[:PORT], tls://IP[:PORT]#NAME or"
            " https://IP[:PORT]/PATH#NAME",
            code="resolver-invalid",
        ) from error
    if not scheme and not address.is_loopback:
        raise errors.PolicyError(
            f"{text} is plain DNS and not on loopback: the host can forge its answers",
            code="resolver-plain",
            hint=f"use DNS over TLS: tls://{text}#NAME",
        )
    if scheme == "https":
        doh.require_library()
    name = match["name"].lower() if match["name"] else None
    return DnsResolver(text, str(address), port, name, roots, timeout, match["path"])


def parse_resolvers(
    texts: Iterable[str], *, roots: str | None = None, timeout: float = TIMEOUT
) -> tuple[DnsResolver, ...]:
    """Read how the resolvers that must agree are named.

    Args:
        texts: Each as `parse_resolver` takes it.
        roots: PEM file of roots for TLS in place of the system's.
        timeout: Seconds for one try.

    Raises:
        PolicyError: As `parse_resolver`; none is named (``resolver-missing``); one is named twice,
            in whatever words (``resolver-twice``): its answers always agree with themselves.
    """
    found: dict[tuple[str, int], DnsResolver] = {}
    for text in texts:
        resolver = parse_resolver(text, roots=roots, timeout=timeout)
        place = (resolver.address, resolver.port)
        if place in found:
            raise errors.PolicyError(
                f"{found[place].label} and {text} are the same resolver", code="resolver-twice"
            )
        found[place] = resolver
    if not found:
        raise errors.PolicyError("no resolver is named", code="resolver-missing")
    return tuple(found.values())


def independent(resolvers: Iterable[DnsResolver]) -> int:
    """Count the resolvers for which the host cannot speak at once: the distinct TLS names.

    A plain resolver on loopback counts for nothing: without DNSSEC it repeats what the host's
    network tells it.
    """
    names = (resolver.tls_name for resolver in resolvers)
    return len({name.lower().rstrip(".") for name in names if name})

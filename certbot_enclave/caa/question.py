# SPDX-License-Identifier: Apache-2.0
"""The question for the CAA records of a name, and whether a response answers it.

dnspython makes it: whole, for one question at a time (`message`), or once as a form into which the
name is put (`Question`). Where thousands are asked, rendering each anew would cost a fifth as much
as reading the answers.
"""

from __future__ import annotations

import secrets
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from dns.message import Message
    from dns.name import Name

PAYLOAD = 1232  # bytes of EDNS payload (DNS flag day 2020)
_KIND = 0xF800  # flags: QR and the operation (RFC 1035 §4.1.1)
_ANSWER = 0x8000  # a response, to a standard query


class Query(Protocol):
    """What is sent: a `Question`, or a message of dnspython's."""

    id: int

    def to_wire(self) -> bytes:
        """Return its bytes."""

    def is_response(self, other: Message, /) -> bool:
        """Return whether a message answers it."""


@lru_cache(maxsize=512)
def absolute(name: str) -> Name:
    """Return a name, which has no trailing dot, as dnspython has it."""
    import dns.name

    return dns.name.from_text(name + ".")


def message(name: str) -> Message:
    """Make the question: recursive, with DNSSEC's records, its id of its own."""
    return _message(absolute(name))


def _message(name: Name) -> Message:
    import dns.flags
    import dns.message

    return dns.message.make_query(
        name,
        "CAA",
        flags=dns.flags.RD | dns.flags.AD,
        use_edns=0,
        ednsflags=dns.flags.DO,
        payload=PAYLOAD,
    )


@cache
def _form() -> tuple[bytes, bytes]:
    """Return what stands before and behind the name in every question, without the id."""
    import dns.name

    wire = _message(dns.name.root).to_wire()
    return wire[2:12], wire[13:]  # between them the root, one byte (RFC 1035 §4.1)


@cache
def _unable() -> frozenset[int]:
    """Return the codes of those who may leave the question out, since they did not read it."""
    from dns.rcode import FORMERR, NOTIMP, REFUSED, SERVFAIL

    return frozenset((FORMERR, SERVFAIL, NOTIMP, REFUSED))


class Question:
    """The same question as `message` makes: the same bytes, and the same answers to it.

    Attributes:
        id: Its own; another if that is taken.
    """

    __slots__ = ("_name", "id")

    def __init__(self, name: str) -> None:
        self._name = absolute(name)
        self.id = int.from_bytes(secrets.token_bytes(2), "big")

    def to_wire(self) -> bytes:
        """Return its bytes."""
        before, behind = _form()
        return self.id.to_bytes(2, "big") + before + self._name.to_digestable() + behind

    def is_response(self, other: Message, /) -> bool:
        """Return whether a message answers it: its id and its question (RFC 5452 §9.1)."""
        from dns.rdataclass import IN
        from dns.rdatatype import CAA

        if other.id != self.id or other.flags & _KIND != _ANSWER:
            return False
        asked = [(item.rdclass, item.rdtype, item.name) for item in other.question]
        return asked == [(IN, CAA, self._name)] or (not asked and other.rcode() in _unable())

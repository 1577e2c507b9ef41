# SPDX-License-Identifier: Apache-2.0
"""CAA answers from DNS messages, read by hand.

dnspython refuses a whole message over one odd CAA record, where Boulder sees a record with an
unknown tag. So only the framing is read here (RFC 1035 section 4.1), and RDATA stays octets.
"""

from __future__ import annotations

import struct

from tests.support.ca.caa import Answer, LookupFailed

CAA = 257
OPT = 41
IN = 1
HEADER = 12
QR = 0x8000
TC = 0x0200
MAX_POINTERS = 64


def read_answer(message: bytes, query_id: int, qname: str) -> Answer:
    """Read the answer to a CAA query.

    Args:
        message: The DNS message as it came.
        query_id: The id that the query carried.
        qname: The name that was asked, lower case, without the trailing dot.

    Raises:
        LookupFailed: The message cannot be read, or answers another question.
    """
    try:
        return _read(message, query_id, qname)
    except (struct.error, IndexError) as e:
        raise LookupFailed("the answer ends too early") from e


def _read(message: bytes, query_id: int, qname: str) -> Answer:
    ident, flags, questions, *sections = struct.unpack_from("!6H", message)
    if ident != query_id or not flags & QR or questions != 1:
        raise LookupFailed("the message does not answer this query")
    asked, at = _name(message, HEADER)
    if (asked, *struct.unpack_from("!2H", message, at)) != (qname, CAA, IN):
        raise LookupFailed(f"the message answers another question: {asked}")
    at += 4
    rcode = flags & 0xF
    if flags & TC:
        return Answer(rcode=rcode, truncated=True)
    rdatas = []
    for number, count in enumerate(sections):
        for _ in range(count):
            _, at = _name(message, at)
            kind, class_, ttl, length = struct.unpack_from("!HHIH", message, at)
            at += 10
            if at + length > len(message):
                raise LookupFailed("a record runs past the end of the message")
            if number == 0 and (kind, class_) == (CAA, IN):
                rdatas.append(message[at : at + length])
            if kind == OPT:
                rcode |= (ttl >> 24) << 4  # RFC 6891 section 6.1.3
            at += length
    return Answer(tuple(rdatas), rcode)


def _name(message: bytes, at: int) -> tuple[str, int]:
    """A name in lower case, and where it ends (RFC 1035 section 4.1.4)."""
    labels: list[str] = []
    end = None
    for _ in range(MAX_POINTERS + 128):
        length = message[at]
        if length == 0:
            return ".".join(labels), at + 1 if end is None else end
        if length & 0xC0 == 0xC0:
            end = at + 2 if end is None else end
            at = struct.unpack_from("!H", message, at)[0] & 0x3FFF
        elif length & 0xC0:
            raise LookupFailed("a label has a reserved type")
        else:
            label = message[at + 1 : at + 1 + length]
            labels.append(label.decode("latin-1").lower())
            at += 1 + length
    raise LookupFailed("a name does not end")

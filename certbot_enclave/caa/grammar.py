# SPDX-License-Identifier: Apache-2.0
"""CAA records as bytes, and the value that binds issuance to one account (RFC 8659, RFC 8657)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from certbot_enclave import errors

_BLANK = b" \t"
# Whatever some language's "strip" takes for white space; the last two are Latin-1, not UTF-8.
_BLANKS = (
    "\0\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006"
    "\u2007\u2008\u2009\u200a\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\udc85\udca0"
)
_STRICT_TAG = re.compile(rb"[0-9A-Za-z]*")
_STRICT_VALUE = re.compile(rb"[\x21-\x3a\x3c-\x7e]*")
_ISSUER = re.compile(r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_METHOD = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_ESCAPE = r"%[0-9A-Fa-f]{2}"
# RFC 3986 §3.3, without the ``;`` that would end the parameter (RFC 8659 §4.2).
_PCHAR = rf"[A-Za-z0-9._~!$&'()*+,=:@-]|{_ESCAPE}"
_URI = re.compile(
    r"https://(?:[A-Za-z0-9.-]+|\[(?P<six>[0-9A-Fa-f:.]+)\])(?::[0-9]*)?"
    rf"/(?:{_PCHAR}|/)*(?:\?(?:{_PCHAR}|[/?])*)?(?:\#(?:{_PCHAR}|[/?])*)?"
)
# What Go's net/url parses, of text that `_STRICT_VALUE` matches: an opaque URL, one with an
# authority, one with a path alone, or a relative one whose first segment has no colon.
_SCHEME = r"[A-Za-z][A-Za-z0-9+.-]*:"
_PATH = rf"(?:/(?:[^%?\#]|{_ESCAPE})*)?"
_HOST = r"""(?:[A-Za-z0-9._~!$&'()*+,;=<>"\[\]-]|%25|%[89A-Fa-f][0-9A-Fa-f])"""
_AUTHORITY = (
    rf"(?:(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|{_ESCAPE})*@)?"
    rf"(?:(?!\[){_HOST}*|(?!\[)(?:{_HOST}|:)*:[0-9]*|\[(?:{_HOST}|:)*\](?::[0-9]*)?)"
)
_URL = re.compile(
    rf"(?:{_SCHEME}(?:[^/?\#][^?\#]*)?|(?:{_SCHEME})?//{_AUTHORITY}{_PATH}|{_SCHEME}(?!//){_PATH}"
    rf"|(?!//[^/]){_PATH}|(?:[^%:/?\#]|{_ESCAPE})+{_PATH})(?:\?[^\#]*)?(?:\#(?:[^%]|{_ESCAPE})*)?"
)

_ESCAPES = {byte: f"\\{byte:03d}" for byte in (*range(0x20), *range(0x7F, 0x100))}
_ESCAPES |= {ord(sign): f"\\{sign}" for sign in '"\\'}

Parameters = list[tuple[bytes, bytes]]


class Record(NamedTuple):
    """One CAA record, as on the wire.

    Attributes:
        flags: 0 to 255; 128 is "issuer critical".
        tag: Property tag, e.g. ``issue``.
        value: Whatever follows; never presentation text.
    """

    flags: int
    tag: bytes
    value: bytes

    def wire(self) -> bytes:
        """Return the RDATA (RFC 8659 §4.1)."""
        return bytes([self.flags, len(self.tag)]) + self.tag + self.value

    def text(self) -> str:
        """Return the presentation form, quoted and escaped (RFC 8659 §4.1.1)."""
        # Outside quotes a blank would end the tag, and ``;`` would begin a comment.
        tag = "".join(
            chr(byte) if bytes([byte]).isalnum() else f"\\{byte:03d}" for byte in self.tag
        )
        return f'{self.flags} {tag or chr(34) * 2} "{escaped(self.value)}"'


def escaped(data: bytes) -> str:
    """Return bytes as printable ASCII, the rest in DNS's decimal escapes; fit for quotes."""
    return data.decode("latin-1").translate(_ESCAPES)


def split_strict(value: bytes) -> tuple[bytes, Parameters] | None:
    """Read an issue value as Boulder does (``parseCAARecord``, 2026-08).

    Returns:
        Issuer domain name and parameters, or None if the record is malformed: it then authorises
        nobody.
    """
    first, *rest = value.split(b";")
    issuer = first.strip(_BLANK)
    if len(rest) == 1 and not rest[0].strip(_BLANK):
        return issuer, []
    parameters = []
    for part in rest:
        tag, equals, text = part.partition(b"=")
        tag, text = tag.strip(_BLANK), text.strip(_BLANK)
        if not equals or not _STRICT_TAG.fullmatch(tag) or not _STRICT_VALUE.fullmatch(text):
            return None
        parameters.append((tag, text))
    return issuer, parameters


def is_url(value: bytes) -> bool:
    """Return whether Boulder's language takes a parameter's value for a URL (Go's ``net/url``)."""
    return _URL.fullmatch(value.decode("latin-1")) is not None


def stripped(part: bytes) -> bytes:
    """Return a part without whatever at its ends some language takes for white space, or NUL."""
    # surrogateescape keeps every byte that is no UTF-8.
    text = part.decode("utf-8", "surrogateescape").strip(_BLANKS)
    return text.encode("utf-8", "surrogateescape")


def split_liberal(value: bytes) -> tuple[bytes, Parameters]:
    """Read an issue value as the most lenient parser could: it never fails."""
    first, *rest = value.split(b";")
    parameters = []
    for part in rest:
        tag, _, text = part.partition(b"=")
        if stripped(part):
            parameters.append((stripped(tag), stripped(text)))
    return stripped(first), parameters


def _is_account_uri(text: str) -> bool:
    """Return whether an account's URL is a URI by RFC 3986 that a value can hold as it is."""
    match = _URI.fullmatch(text)
    if match is None or match["six"] is None:
        return match is not None
    import ipaddress

    try:
        ipaddress.IPv6Address(match["six"])
    except ValueError:
        return False
    return True


def build(issuer: str, *, methods: Sequence[str], account_uri: str) -> bytes:
    """Build the value that allows one account by these methods, in its one canonical form.

    Lower case, no white space, no trailing ``;``: every parser studied reads it alike. The URI
    stays as it is, since CAs compare it octet for octet.

    Args:
        issuer: Issuer domain name of the CA.
        methods: Validation method labels, e.g. ``http-01``.
        account_uri: ACME account URL: https, with a path, and a URI (RFC 8657 §3, RFC 3986).

    Raises:
        PolicyError: It cannot be built (``caa-issuer``, ``caa-method``, ``caa-account-uri``).
    """
    if len(issuer) > 253 or _ISSUER.fullmatch(issuer) is None:
        raise errors.PolicyError(
            f"issuer {issuer!r} is no lower-case domain name", code="caa-issuer"
        )
    if not methods or any(_METHOD.fullmatch(method) is None for method in methods):
        raise errors.PolicyError(
            f"methods {list(methods)!r} are no validation method labels", code="caa-method"
        )
    if not _is_account_uri(account_uri):
        raise errors.PolicyError(
            f"account URI {account_uri!r} is no https URL by RFC 3986 without a ;",
            code="caa-account-uri",
        )
    text = f"{issuer};validationmethods={','.join(methods)};accounturi={account_uri}"
    return text.encode("ascii")

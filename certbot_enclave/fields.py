# SPDX-License-Identifier: Apache-2.0
"""The grammar of a statement's fields: every value is checked before it is used or printed.

Each reader takes a JSON value and its name, and returns the value or raises FormatError
(``statement-format``).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, NoReturn

from certbot_enclave import errors

_NAME = re.compile(
    # Not longer than DNS allows, and no IPv4 address: its last label would be a number.
    r"(\*\.)?(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+"
    r"(?![0-9]+$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)
_ISSUER = re.compile(
    r"(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# A CAA record can carry an account URI without ``;``, ``"`` and ``\`` only.
_URL = re.compile(r"https://[a-z0-9.:\[\]-]+(/[!#-:<-\[\]-~]*)?")
# 43 digits have 258 bits: the last two must be zero, or two texts would name one key.
_BASE64URL_32 = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")
_HEX = re.compile(r"[0-9a-f]{1,64}")
_HEX_32 = re.compile(r"[0-9a-f]{64}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/*@+-]{0,254}")
# From hour 24 on, versions of Python differ; years before 1000 they write with fewer digits.
_TIME = re.compile(r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}T([01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2}Z")


def refuse(what: str, expected: str) -> NoReturn:
    """Raise FormatError: a field is not what it should be."""
    raise errors.FormatError(f"{what} is not {expected}", code="statement-format")


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make a table of JSON's pairs, and raise ValueError if a name occurs twice."""
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a member name occurs twice")
    return table


def _no_fraction(_text: str) -> NoReturn:
    raise ValueError("fractions, NaN and Infinity are not allowed")


def strict_json(text: str, what: str) -> dict[str, Any]:
    """Read a JSON object: no member twice, no fractions, no NaN."""
    try:
        table = json.loads(
            text, object_pairs_hook=unique, parse_float=_no_fraction, parse_constant=_no_fraction
        )
    except (ValueError, RecursionError) as error:
        raise errors.FormatError(
            f"{what} is no strict JSON: {error}", code="json-format"
        ) from error
    if not isinstance(table, dict):
        raise errors.FormatError(f"{what} is no JSON object", code="json-format")
    return table


def matching(pattern: re.Pattern[str], expected: str) -> Callable[[Any, str], str]:
    """Make a reader for texts of at most 1024 characters that match a pattern."""

    def read(value: Any, what: str) -> str:
        if not isinstance(value, str) or len(value) > 1024 or not pattern.fullmatch(value):
            refuse(what, expected)
        return value

    return read


def time(value: Any, what: str) -> datetime:
    """Read a UTC time in the one form ``YYYY-MM-DDTHH:MM:SSZ``."""
    try:
        if not isinstance(value, str) or not _TIME.fullmatch(value):
            raise ValueError("not in the one form")
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise errors.FormatError(
            f"{what} is not a time as 2026-01-31T12:00:00Z", code="statement-format"
        ) from error


def switch(value: Any, what: str) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        refuse(what, "true or false")
    return value


def count(value: Any, what: str) -> int:
    """Read a whole number from 0 to 2^53 - 1."""
    if type(value) is not int or not 0 <= value < 1 << 53:
        refuse(what, "a whole number")
    return value


def sorted_list(value: Any, what: str, read: Callable[[Any, str], str]) -> tuple[str, ...]:
    """Read a list of texts, sorted, each once."""
    if not isinstance(value, list) or len(value) > 1000:
        refuse(what, "a list")
    items = tuple(read(item, f"{what}[{index}]") for index, item in enumerate(value))
    if list(items) != sorted(set(items)):
        refuse(what, "sorted, each item once")
    return items


def table(value: Any, what: str) -> dict[str, Any]:
    """Read an object of at most 100 members."""
    if not isinstance(value, dict) or len(value) > 100:
        refuse(what, "an object")
    return value


name = matching(_NAME, "a lower-case DNS name")
url = matching(_URL, "an https URL in ASCII")
issuer = matching(_ISSUER, "a lower-case issuer domain name")
label = matching(_LABEL, "a lower-case label")
word = matching(_WORD, "a plain word")
digest = matching(_BASE64URL_32, "a base64url SHA-256")
serial = matching(_HEX, "lower-case hex")
sha256 = matching(_HEX_32, "a lower-case hex SHA-256")


def printable(value: Any, what: str) -> str:
    """Read a text of at most 1024 printable characters."""
    if not isinstance(value, str) or len(value) > 1024 or not value.isprintable():
        refuse(what, "a printable text")
    return value


def texts(value: Any, what: str) -> tuple[str, ...]:
    """Read a list of at most 100 printable texts, in any order."""
    if not isinstance(value, list) or len(value) > 100:
        refuse(what, "a list of at most 100")
    return tuple(printable(item, what) for item in value)


def setting(value: Any, what: str) -> str | bool | tuple[str, ...]:
    """Read a value of a setting: text, switch or list of texts."""
    if isinstance(value, bool):
        return value
    if isinstance(value, list):
        return texts(value, what)
    return printable(value, what)


def tables(value: Any, what: str) -> list[dict[str, Any]]:
    """Read a list of at most 100 objects."""
    if not isinstance(value, list) or len(value) > 100:
        refuse(what, "a list of at most 100")
    return [table(item, f"{what}[{index}]") for index, item in enumerate(value)]


def entries(data: bytes, what: str, *, size: int, count: int) -> list[object]:
    """Read a file that is one JSON object with one array, ``entries``.

    Args:
        data: Its bytes.
        what: What it is, for errors.
        size: Bytes at most.
        count: Entries at most.

    Raises:
        FormatError: It is not that.
    """
    if len(data) > size:
        refuse(what, f"at most {size} bytes")
    try:
        known = strict_json(data.decode(), what)
    except UnicodeDecodeError as error:
        raise errors.FormatError(f"{what} is no UTF-8", code="json-format") from error
    found = known.get("entries")
    if not isinstance(found, list) or known.keys() != {"entries"} or len(found) > count:
        refuse(what, f"an object of at most {count} entries")
    return found

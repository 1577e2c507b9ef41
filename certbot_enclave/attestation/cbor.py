# SPDX-License-Identifier: Apache-2.0
"""The part of CBOR (RFC 8949) that Nitro documents use, read in exactly one way.

Definite lengths and shortest forms everywhere, with one exception that the hardware has made since
2025-08: the payload's outermost map is of indefinite length. No tags, no floats, no booleans, no
duplicate keys, nothing behind the end. Two parsers cannot read such bytes differently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from certbot_enclave import errors

MAX_BYTES = 64 * 1024
MAX_DEPTH = 4  # payload map > pcrs map or cabundle array > item
MAX_ITEMS = 256  # in one array or map

_UNSIGNED, _NEGATIVE, _BYTES, _TEXT, _ARRAY, _MAP = range(6)
_NULL, _INDEFINITE_MAP, _BREAK = 0xF6, 0xBF, 0xFF
_FALSE, _TRUE = 0xF4, 0xF5
_SHOWN = 40  # characters of a hostile key in an error
_SIMPLE: dict[int, bool | None] = {_NULL: None}
_WITH_BOOLEANS: dict[int, bool | None] = {_NULL: None, _FALSE: False, _TRUE: True}


def _malformed(message: str, code: str) -> NoReturn:
    raise errors.FormatError(f"CBOR: {message}", code=code)


class _Reader:
    def __init__(self, data: bytes, simple: Mapping[int, bool | None]) -> None:
        self._data = data
        self._at = 0
        self._simple = simple

    def take(self, count: int) -> bytes:
        end = self._at + count
        piece = self._data[self._at : end]
        if len(piece) != count:
            _malformed(f"{count} bytes expected at offset {self._at}", "cbor-truncated")
        self._at = end
        return piece

    def peek(self) -> int:
        return self._data[self._at] if self._at < len(self._data) else -1

    def done(self) -> bool:
        return self._at == len(self._data)

    def _argument(self, info: int) -> int:
        if info > 27:
            _malformed(
                f"indefinite length or reserved form at offset {self._at - 1}", "cbor-indefinite"
            )
        size = 1 << (info - 24)
        value = int.from_bytes(self.take(size), "big")
        if value < (24 if size == 1 else 1 << (4 * size)):
            _malformed(f"{value} is not in its shortest form", "cbor-overlong")
        return value

    def item(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            _malformed(f"more than {MAX_DEPTH} levels", "cbor-depth")
        initial = self.peek()
        if initial < 0:
            _malformed(f"1 byte expected at offset {self._at}", "cbor-truncated")
        self._at += 1
        major, value = initial >> 5, initial & 31
        if major > _MAP:
            if initial not in self._simple:
                _malformed(f"tag, float or simple value {initial:#04x}", "cbor-type")
            return self._simple[initial]
        if value >= 24:
            value = self._argument(value)
        if major == _BYTES:
            return self.take(value)
        if major == _UNSIGNED:
            return value
        if major == _TEXT:
            try:
                return self.take(value).decode("utf-8")
            except UnicodeDecodeError as error:
                raise errors.FormatError("CBOR: text is no UTF-8", code="cbor-text") from error
        if major == _NEGATIVE:
            return -1 - value
        if value > MAX_ITEMS:
            _malformed(f"{value} items, at most {MAX_ITEMS} are allowed", "cbor-size")
        if major == _ARRAY:
            return [self.item(depth + 1) for _ in range(value)]
        return self.pairs(depth, value)

    def pairs(self, depth: int, count: int | None) -> dict[Any, Any]:
        """Read `count` pairs, or with None as many as come before the break."""
        table: dict[Any, Any] = {}
        while len(table) < MAX_ITEMS if count is None else len(table) < count:
            if count is None and self.peek() == _BREAK:
                break
            key = self.item(depth + 1)
            if type(key) not in (int, str):
                _malformed("a map key is neither number nor text", "cbor-key")
            if key in table:
                _malformed(f"map key {str(key)[:_SHOWN]!r} occurs twice", "cbor-duplicate")
            table[key] = self.item(depth + 1)
        if count is None and self.take(1) != bytes([_BREAK]):
            _malformed(f"more than {MAX_ITEMS} items", "cbor-size")
        return table


def loads(data: bytes, *, indefinite_map: bool = False, booleans: bool = False) -> Any:
    """Read one item and nothing behind it.

    Args:
        data: At most `MAX_BYTES` bytes.
        indefinite_map: The outermost item may be a map of indefinite length.
        booleans: True and false may occur, though not as keys. Documents have none; the device's
            own responses have.

    Returns:
        int, str, bytes, None, bool, list, or dict with int or str keys.

    Raises:
        FormatError: Anything else.
    """
    if len(data) > MAX_BYTES:
        _malformed(f"{len(data)} bytes, at most {MAX_BYTES} are allowed", "cbor-size")
    reader = _Reader(data, _WITH_BOOLEANS if booleans else _SIMPLE)
    if indefinite_map and reader.peek() == _INDEFINITE_MAP:
        reader.take(1)
        found: Any = reader.pairs(0, None)
    else:
        found = reader.item(0)
    if not reader.done():
        _malformed("bytes behind the end", "cbor-trailing")
    return found


def _head(major: int, value: int) -> bytes:
    if value < 24:
        return bytes([major << 5 | value])
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * size:
            return bytes([major << 5 | info]) + value.to_bytes(size, "big")
    raise ValueError("number of more than 64 bits")


def dumps(value: Any, *, indefinite_map: bool = False) -> bytes:
    """Write what `loads` reads: int, str, bytes, None, bool, list or dict, in that form."""
    if value is None:
        return bytes([_NULL])
    if isinstance(value, bool):
        return bytes([_TRUE if value else _FALSE])
    if isinstance(value, int):
        return _head(_UNSIGNED, value) if value >= 0 else _head(_NEGATIVE, -1 - value)
    if isinstance(value, bytes):
        return _head(_BYTES, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return _head(_TEXT, len(text)) + text
    if isinstance(value, list):
        return _head(_ARRAY, len(value)) + b"".join(map(dumps, value))
    pairs = b"".join(dumps(key) + dumps(item) for key, item in value.items())
    if indefinite_map:
        return bytes([_INDEFINITE_MAP]) + pairs + bytes([_BREAK])
    return _head(_MAP, len(value)) + pairs

# SPDX-License-Identifier: Apache-2.0
"""Changes to JSON: a value somewhere in it is another, is gone, or is there under another name."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from random import Random
from typing import Any

from tests.fuzz.changes import below

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 1 << 53, 1 << 64, 10**40, 0.5, 1e300, float("nan")),
    *("", " ", "a", "A", "é", "\0", "\n", "\u202e", "\ud800", "x" * 1025, "a" * 253, "*.a.b"),
    *("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2026-02-30T00:00:00Z", "https://a"),
    *("0" * 96, "f" * 64, "A" * 43, "a.b", "simulated", [], {}, [[]], [{}], [None], [""]),
    *(["a"] * 2, ["b", "a"], ["a"] * 101, {"a": None}, {str(index): "" for index in range(101)}),
)
# Texts that JSON and its readers may take in more than one way.
_TEXTS = (
    *('{"a":1,"a":2}', "{", "}", "[", "]", ",", ":", '"', "\\", "\\u0000", "\\ud800", "\\u00"),
    *("null", "true", "NaN", "Infinity", "-0", "1e999", "1.0", "0x1", "01", "1" * 5000, "//"),
    *("[" * 3000, '{"a":' * 2000, "\ufeff", "\u2028", "\x00", "\x1b[2J", "é", "\r\n", "\t"),
    *('"PCR0":', '"PCR00":', '"PCR32":', '"type":', '"__class__":', '"":'),
)
TOKENS = (*(text.encode() for text in _TEXTS), b"\xff", b"\xed\xa0\x80", b"\xc0\xaf", b"\xfe\xff")


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return every (container, key) in it."""
    found: list[tuple[Any, Any]] = []
    containers = [value]
    for container in containers:
        keys = list(container) if isinstance(container, dict) else range(len(container))
        for key in keys:
            found.append((container, key))
            if isinstance(container[key], dict | list):
                containers.append(container[key])
    return found


def _change_text(random: Random, text: str) -> str:
    at = below(random, len(text) + 1)
    end = at + below(random, 3)
    return text[:at] + random.choice(("", "a", "Z", "0", ".", "-", "/", "é", "\n")) + text[end:]


def _change_one(random: Random, tree: Any, odd: Sequence[Any]) -> None:
    places = _places(tree)
    if not places:
        return
    container, key = places[below(random, len(places))]
    value, choice = container[key], random.random()
    if choice < 0.35 and isinstance(value, str):
        container[key] = _change_text(random, value)
    elif choice < 0.75:
        container[key] = copy.deepcopy(odd[below(random, len(odd))])
    elif choice < 0.85:
        other, place = places[below(random, len(places))]
        container[key] = copy.deepcopy(other[place])
    elif choice < 0.95:
        del container[key]
    elif isinstance(container, dict):
        container[_change_text(random, key)] = value
    else:
        container.append(value)


def change(random: Random, text: str, odd: Sequence[Any] = ODD) -> str:
    """Return JSON with one to three changes.

    Args:
        random: Source of every choice.
        text: JSON of an object.
        odd: Values to put somewhere.
    """
    tree = json.loads(text)
    for _ in range(1 + int(3 * random.random() ** 3)):
        _change_one(random, tree, odd)
    return json.dumps(tree, indent=1 if random.random() < 0.3 else None)

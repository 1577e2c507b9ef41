# SPDX-License-Identifier: Apache-2.0
"""Changes to DER whose lengths are right again afterwards: what reads it gets further into it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.fuzz import changes
from tests.fuzz.changes import below

_CONSTRUCTED = 0x20
_INTEGER, _UTF8, _PRINTABLE = 0x02, 0x0C, 0x13  # these may hold almost anything

PIECES = tuple(
    bytes.fromhex(text)
    for text in (
        # Values with their heads.
        *("0500", "0101ff", "010101", "020100", "0201ff", "0400", "0c00", "0c0141", "3000", "3100"),
        *("030100", "03020780", "30030101ff", "30060101ff020100", "a003020102", "a003020100"),
        # Algorithms, curves and extensions of certificates.
        *("300a06082a8648ce3d040303", "300a06082a8648ce3d040302", "06052b81040022", "0603551d13"),
        *("06052b81040023", "06072a8648ce3d0201", "06092a864886f70d010101", "0603551d0f"),
        *("0603551d11", "0603551d25", "0603551d20", "0603551d1e", "0603550403", "06035504030c"),
        # Times, and lengths that are none.
        *("170d3530303130313030303030305a", "180f39393939313233313233353935395a", "170100"),
        *("3080", "30ff", "3081", "308180", "3082ffff", "3084ffffffff", "1f", "0000", "02820100"),
    )
)


class Node:
    """An element: a tag, and either bytes or elements in it."""

    def __init__(self, tag: int, content: bytes, inside: list[Node] | None) -> None:
        self.tag = tag
        self.content = content
        self.inside = inside

    def copy(self) -> Node:
        """Return a copy that shares nothing that changes."""
        inside = None if self.inside is None else [node.copy() for node in self.inside]
        return Node(self.tag, self.content, inside)

    def encoded(self) -> bytes:
        """Return it with the lengths that it has now."""
        body = self.content
        if self.inside is not None:
            body = b"".join([node.encoded() for node in self.inside])
        size = len(body)
        if size < 128:
            return bytes((self.tag, size)) + body
        length = size.to_bytes((size.bit_length() + 7) // 8, "big")
        return bytes((self.tag, 128 + len(length))) + length + body

    def places(self) -> Iterator[tuple[list[Node], int]]:
        """Yield the place of every element within it."""
        for at, node in enumerate(self.inside or ()):
            yield self.inside or [], at
            yield from node.places()


def parse(data: bytes) -> list[Node]:
    """Read elements, as deep as their tags say. The data is DER of ours."""
    found = []
    at = 0
    while at < len(data):
        tag, size, begin = data[at], data[at + 1], at + 2
        if size >= 128:
            begin = at + 2 + size - 128
            size = int.from_bytes(data[at + 2 : begin], "big")
        content = data[begin : begin + size]
        found.append(Node(tag, content, parse(content) if tag & _CONSTRUCTED else None))
        at = begin + size
    return found


def _fill(random: Random, node: Node, behind: list[Node]) -> None:
    """Put something long into an element, which says again what comes next."""
    again = b"".join([item.encoded() for item in behind])
    if random.random() < 0.5:
        again = changes.change(random, again, PIECES)
    node.content = b"\1" * below(random, 260) + again[: below(random, 400)]


def _change_one(random: Random, root: Node) -> None:
    places = list(root.places())
    if not places:
        return
    siblings, at = places[below(random, len(places))]
    node, choice = siblings[at], random.random()
    if node.tag in (_INTEGER, _UTF8, _PRINTABLE) and choice < 0.3:
        _fill(random, node, siblings[at + 1 :])
    elif choice < 0.5 and node.inside is None:
        node.content = changes.change(random, node.content, PIECES)
    elif choice < 0.53:
        node.tag = (node.tag & 0xE0) | below(random, 31)
    elif choice < 0.58:
        del siblings[at]
    elif choice < 0.65:
        siblings.insert(at, node.copy())
    else:  # by another of its kind
        others = [group[place] for group, place in places if group[place].tag == node.tag]
        siblings[at] = others[below(random, len(others))].copy()


def change(random: Random, root: Node) -> bytes:
    """Return DER with one to three changes to elements within `root`."""
    changed = root.copy()
    for _ in range(1 + int(3 * random.random() ** 3)):
        _change_one(random, changed)
    return changed.encoded()

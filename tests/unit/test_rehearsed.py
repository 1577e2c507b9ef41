# SPDX-License-Identifier: Apache-2.0
"""What was rehearsed is remembered by directory, image and names, and read strictly."""

import json
from datetime import UTC, datetime

import pytest

from certbot_enclave import errors, rehearsed
from certbot_enclave.rehearsed import Entry

STAGING = "https://staging.test/directory"
IMAGE = "0a" * 32
AT = datetime(2026, 11, 25, 12, tzinfo=UTC)
ONE = Entry(STAGING, IMAGE, ("a.test", "b.test"), AT)
LINE = {"directory": STAGING, "image": IMAGE, "names": ["a.test"], "at": "2026-11-25T12:00:00Z"}


def _with(**changes):
    return json.dumps({"entries": [{**LINE, **changes}]}).encode()


@pytest.mark.parametrize(
    ("directory", "image", "names", "known"),
    [
        (STAGING, IMAGE, ["b.test", "a.test"], True),
        (STAGING, IMAGE, ["a.test"], False),
        (STAGING, IMAGE, ["a.test", "b.test", "c.test"], False),
        (STAGING, "0b" * 32, ["a.test", "b.test"], False),
        ("https://other.test/directory", IMAGE, ["a.test", "b.test"], False),
    ],
)
def test_exactly_what_was_rehearsed_is_known(directory, image, names, known):
    assert rehearsed.known([ONE], directory, image, names) is known


def test_another_image_is_another_digest():
    pcrs = {index: bytes([index]) * 48 for index in range(24)}
    code = rehearsed.image(pcrs, None)
    same = [{**pcrs, index: b"x" * 48} for index in (3, 4, 5, 15)]
    assert {rehearsed.image(item, None) for item in same} == {code}
    other = [{**pcrs, index: b"x" * 48} for index in (0, 1, 2, 8, 16, 20)]
    assert len({code, *(rehearsed.image(item, None) for item in other)}) == 7
    # The account goes into that one only after the first order.
    assert rehearsed.image(pcrs, 20) == rehearsed.image({**pcrs, 20: b"x" * 48}, 20)


def test_it_is_read_as_it_was_written():
    entries = (ONE, ONE._replace(names=("c.test",)))
    assert rehearsed.parse(rehearsed.build(entries)) == entries
    assert rehearsed.parse(rehearsed.build([])) == ()


def test_latest_takes_the_place_of_the_same():
    again = ONE._replace(at=AT.replace(hour=13))
    more = ONE._replace(names=("c.test",))
    assert rehearsed.added([ONE, more], again) == (more, again)


def test_what_another_image_or_directory_rehearsed_goes():
    others = [ONE._replace(image="0b" * 32), ONE._replace(directory="https://x.test/directory")]
    assert rehearsed.added(others, ONE) == (ONE,)


def test_there_is_always_room():
    many = [ONE._replace(names=(f"a{number}.test",)) for number in range(rehearsed.MAX_ENTRIES)]
    kept = rehearsed.added(many, ONE)
    assert (len(kept), kept[-1]) == (rehearsed.MAX_ENTRIES, ONE)
    long = [f"{number:04}{'a' * 50}.{'b' * 60}.{'c' * 60}.{'d' * 60}" for number in range(100)]
    large = [
        ONE._replace(names=tuple(f"{name}.t{number:03}" for name in long)) for number in range(60)
    ]
    kept = rehearsed.added(large, ONE)
    assert kept[-1] == ONE
    assert 1 < len(kept) < 60
    assert rehearsed.parse(rehearsed.build(kept)) == kept


DAMAGED = {
    "nothing": b"",
    "no UTF-8": b"\xff",
    "a list": b"[]",
    "a member twice": b'{"entries": [], "entries": []}',
    "a member more": b'{"entries": [], "more": 1}',
    "no entries": b"{}",
    "entries no list": b'{"entries": {}}',
    "no object": b'{"entries": [1]}',
    "entry with more": _with(more=1),
    "entry with less": _with().replace(b', "at": "2026-11-25T12:00:00Z"', b""),
    "directory no URL": _with(directory="http://staging.test/"),
    "directory a number": _with(directory=1),
    "image short": _with(image="0a"),
    "no names": _with(names=[]),
    "too many names": _with(names=sorted(f"a{number}.test" for number in range(101))),
    "names not sorted": _with(names=["b.test", "a.test"]),
    "names twice": _with(names=["a.test", "a.test"]),
    "name in capitals": _with(names=["A.test"]),
    "names a text": _with(names="a.test"),
    "at in another form": _with(at="2026-11-25 12:00:00"),
    "too long": _with() + b" " * rehearsed.MAX_FILE,
    "too many": json.dumps({"entries": [LINE] * (rehearsed.MAX_ENTRIES + 1)}).encode(),
    "deep": b"[" * 60_000,
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_what_is_damaged_is_refused(data):
    with pytest.raises(errors.FormatError):
        rehearsed.parse(data)


def test_what_is_whole_is_read():
    assert rehearsed.parse(_with()) == (ONE._replace(names=("a.test",)),)

# SPDX-License-Identifier: Apache-2.0
"""The memory of ``caa watch`` comes back as it was written, and nothing else is taken for one."""

import json
from datetime import UTC, datetime

import pytest

from certbot_enclave import errors
from certbot_enclave.caa.drift import Known, Look
from certbot_enclave.cli import caa_memory

NOW = datetime(2026, 11, 25, 20, tzinfo=UTC)
LOOK = Look(
    "www.example.com",
    "open",
    1,
    (("no-caa", "critical"), ("not-allowed", "medium")),
    "",
    ("zone-unsigned",),
    "example.com",
    ('0 issue "other.test"', r'0 issue "\255"'),
    None,
    NOW,
)
NAMES = {
    "www.example.com": Known(LOOK, 7, NOW, 3600),
    "a.example.com": Known(
        LOOK._replace(name="a.example.com", code=3, records=None, found_at=None), 0, NOW, 0
    ),
}


def test_what_is_written_is_read():
    data = caa_memory.build(NAMES)
    assert caa_memory.parse(data, "memory") == NAMES
    assert caa_memory.parse(caa_memory.build({}), "memory") == {}


def test_what_a_look_tells_only_now_is_not_remembered():
    live = LOOK._replace(why="no-caa: anybody", ttl=60)
    data = caa_memory.build({"www.example.com": Known(live, 7, NOW, 3600)})
    assert caa_memory.parse(data, "memory")["www.example.com"] == NAMES["www.example.com"]


def _refused(data, words):
    with pytest.raises(errors.FormatError) as caught:
        caa_memory.parse(data, "memory.json")
    assert caught.value.code == "watch-state"
    assert str(caught.value).startswith("memory.json is no memory of what was seen: ")
    assert words in str(caught.value)
    assert "move it away" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no strict JSON"),
        (b"[]", "no JSON object"),
        (b"{}", "it is not an object of version and names"),
        (b'{"version": 1}', "it is not an object of version and names"),
        (b'{"version": 1, "names": []}', "it is not an object of version and names"),
        (b'{"version": 1, "names": {}, "more": 1}', "it is not an object of version and names"),
        (b'{"version": 2, "names": {}}', "version is not 1"),
        (b'{"version": 1, "version": 1, "names": {}}', "occurs twice"),
        (b'{"version": 1, "names": {"a": NaN}}', "fractions, NaN"),
        (b'{"version": 1, "names": {"\xc3\xa9": {}}}', "it is not ASCII of"),
        (b'{"version": 1, "names": {"a": []}}', "a is not an object"),
    ],
)
def test_another_file_is_refused(data, words):
    _refused(data, words)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"more": 1}, "is not an object of at, changes, code"),
        ({"verdict": 1}, "entry a.test is not a printable text"),
        ({"verdict": "\x1b[2J"}, "entry a.test is not a printable text"),
        ({"code": 2}, "code of entry a.test is not 0, 1 or 3"),
        ({"code": True}, "entry a.test is not a whole number"),
        ({"code": 1.0}, "fractions"),
        ({"findings": {}}, "findings of entry a.test is not a list of at most 100"),
        ({"findings": [["a", "b"]] * 101}, "findings of entry a.test is not a list of at most"),
        ({"findings": [["a"]]}, "findings of entry a.test is not a name and a severity"),
        ({"findings": ["ab"]}, "findings of entry a.test is not a name and a severity"),
        ({"findings": [["a", 1]]}, "findings of entry a.test is not a printable text"),
        ({"conditions": "x"}, "conditions of entry a.test is not a list"),
        ({"found_at": "\n"}, "entry a.test is not a printable text"),
        ({"records": "x"}, "records of entry a.test is not a list of printable texts"),
        ({"records": [1]}, "records of entry a.test is not a list of printable texts"),
        ({"records": ["\n"]}, "records of entry a.test is not a list of printable texts"),
        ({"at": None}, "time of entry a.test is not a time"),
        ({"settled": None}, "end of the window of entry a.test is not a time"),
        ({"changes": -1}, "entry a.test is not a whole number"),
        ({"longest": "1"}, "entry a.test is not a whole number"),
    ],
)
def test_each_member_is_checked(change, words):
    table = json.loads(caa_memory.build({"a.test": NAMES["www.example.com"]}))
    table["names"]["a.test"] |= change
    _refused(json.dumps(table).encode(), words)


@pytest.mark.parametrize("name", ["a" * 256, "\x1b.test"])
def test_a_name_is_short_and_printable(name):
    _refused(caa_memory.build({name: NAMES["www.example.com"]}), "a name is not a printable text")


def test_a_missing_member_is_no_default():
    table = json.loads(caa_memory.build(NAMES))
    del table["names"]["a.example.com"]["records"]
    _refused(json.dumps(table).encode(), "is not an object of at, changes, code")


def test_both_ends_of_the_file_have_a_bound(monkeypatch):
    data = caa_memory.build(NAMES)
    monkeypatch.setattr(caa_memory, "MAX", len(data))
    assert caa_memory.parse(caa_memory.build(NAMES), "memory") == NAMES
    monkeypatch.setattr(caa_memory, "MAX", len(data) - 1)
    _refused(data, f"it is not ASCII of {len(data) - 1} bytes at most")
    with pytest.raises(errors.PolicyError) as caught:
        caa_memory.build(NAMES)
    assert caught.value.code == "watch-state-size"
    assert f"memory of 2 names has {len(data)} bytes" in str(caught.value)


def test_no_file_is_no_memory_and_an_unreadable_one_is_an_error(tmp_path):
    assert caa_memory.read(str(tmp_path / "absent")) == {}
    (tmp_path / "state").write_bytes(caa_memory.build(NAMES))
    assert caa_memory.read(str(tmp_path / "state")) == NAMES
    with pytest.raises(errors.TransportError) as caught:
        caa_memory.read(str(tmp_path))
    assert caught.value.code == "file-unreadable"

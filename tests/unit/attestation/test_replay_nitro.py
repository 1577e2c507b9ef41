# SPDX-License-Identifier: Apache-2.0
"""A directory of documents is judged as its manifest says; anything wrong with it ends in 2."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pytest

from tests import replay_nitro
from tests.conftest import TOP
from tests.support import forge

FORGED = forge.document()  # no root of AWS's
ZERO = "00" * 48
PCRS = {f"pcr{index}": "ab" * 48 for index in (0, 1, 2)}


def _item(name="a.bin", data=FORGED, category="invalid", **more):
    return {
        "name": name,
        "category": category,
        "sha256": hashlib.sha256(data).hexdigest(),
        **more,
    }


@pytest.fixture
def folder(tmp_path):
    """A directory with one forged document, and a manifest that the test writes."""
    (tmp_path / "a.bin").write_bytes(FORGED)
    return tmp_path


def _write(folder, *items):
    (folder / "manifest.json").write_text(json.dumps({"documents": items}))


def test_invalid_document_is_to_be_refused(folder, capsys):
    _write(folder, _item(), _item(category="other-nitrotpm"))
    assert replay_nitro.main([str(folder)]) == 0
    assert capsys.readouterr().out == "cases=2 mismatches=0\n"


@pytest.mark.parametrize(
    ("category", "expected"), [("valid", "accepted"), ("valid-debug", "debug")]
)
def test_forged_document_is_never_a_genuine_one(folder, capsys, category, expected):
    _write(folder, _item(), _item(category=category, **PCRS))
    assert replay_nitro.main([str(folder)]) == 1
    assert capsys.readouterr().out == (
        f"a.bin: expected {expected}, refused: chain-root\ncases=2 mismatches=1\n"
    )


BAD_MANIFESTS = {
    "no JSON": ("{", "manifest.json is no JSON"),
    "no UTF-8": (b"\xff", "manifest.json is no JSON"),
    "nested without end": ("[" * 100_000, "manifest.json is no JSON"),
    "no object": ("[]", "no list of documents"),
    "no documents": ("{}", "no list of documents"),
    "documents no list": ('{"documents": {}}', "no list of documents"),
    "document no object": ('{"documents": [1]}', "no list of documents"),
    "empty": ('{"documents": []}', "names no documents"),
}


@pytest.mark.parametrize(("text", "words"), BAD_MANIFESTS.values(), ids=BAD_MANIFESTS)
def test_malformed_manifest(folder, capsys, text, words):
    data = text if isinstance(text, bytes) else text.encode()
    (folder / "manifest.json").write_bytes(data)
    _refused(folder, capsys, words)


def _refused(folder, capsys, words):
    assert replay_nitro.main([str(folder)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("replay_nitro: error: ")
    assert words in said.err
    assert said.err.count("\n") == 1


BAD_ITEMS = {
    "name missing": ({"name": None}, "without name"),
    "category missing": ({"category": None}, "without name"),
    "category is a list": ({"category": ["valid"]}, "without name"),
    "digest missing": ({"sha256": None}, "without name"),
    "other digest": ({"sha256": "00" * 32}, "does not have the SHA-256"),
    "not there": ({"name": "b.bin"}, "b.bin is not there"),
    "the directory itself": ({"name": "."}, "no plain file name"),
    "above": ({"name": "../a.bin"}, "no plain file name"),
    "absolute": ({"name": "/etc/hostname"}, "no plain file name"),
    "with a line": ({"name": "a.bin\n"}, "no plain file name"),
    "with a null": ({"name": "a.bin\0"}, "no plain file name"),
    "valid without measurements": ({"category": "valid"}, "lacks pcr0"),
    "valid without PCR1": ({"category": "valid", "pcr0": ZERO, "pcr2": ZERO}, "lacks pcr0"),
    "PCR is no digest": ({"category": "valid-debug", **PCRS, "pcr2": "00"}, "is no digest"),
    "PCR is null": ({"category": "valid-debug", **PCRS, "pcr8": None}, "is no digest"),
}


@pytest.mark.parametrize(("changes", "words"), BAD_ITEMS.values(), ids=BAD_ITEMS)
def test_document_that_is_not_as_the_manifest_says(folder, capsys, changes, words):
    (folder.parent / "a.bin").write_bytes(FORGED)
    _write(folder, _item(), _item(**changes) if "sha256" in changes else {**_item(), **changes})
    _refused(folder, capsys, words)


def test_document_without_members(folder, capsys):
    _write(folder, {})
    _refused(folder, capsys, "without name")


def test_document_that_is_no_file(folder, capsys):
    os.mkfifo(folder / "b.bin")
    _write(folder, _item("b.bin"))
    _refused(folder, capsys, "b.bin is not there")


def test_document_that_is_too_long(folder, capsys):
    long = bytes((1 << 20) + 1)
    (folder / "b.bin").write_bytes(long)
    _write(folder, _item("b.bin", long))
    _refused(folder, capsys, "more than")


def test_longest_document_is_judged(folder, capsys):
    long = bytes(1 << 20)
    (folder / "b.bin").write_bytes(long)
    _write(folder, _item("b.bin", long))
    assert replay_nitro.main([str(folder)]) == 0
    assert capsys.readouterr().out == "cases=1 mismatches=0\n"


@pytest.mark.parametrize("name", ["nowhere", "a.bin"], ids=["no directory", "a file"])
def test_directory_that_is_none(folder, capsys, name):
    _refused(folder / name, capsys, "cannot be read")


def test_directory_without_manifest(folder, capsys):
    _refused(folder, capsys, "manifest.json cannot be read")


def _run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "tests.replay_nitro", *arguments],
        cwd=TOP,
        capture_output=True,
        text=True,
        check=False,
    )


def test_command(folder):
    _write(folder, _item())
    done = _run(str(folder))
    assert (done.returncode, done.stdout, done.stderr) == (0, "cases=1 mismatches=0\n", "")
    assert _run().returncode == 2


# --- genuine documents ---


@pytest.fixture
def copied(corpus, manifest, tmp_path):
    """A directory with one document of each category, and the manifest's items by category."""
    items = {}
    for item in manifest:
        if items.setdefault(item["category"], item) is item:
            shutil.copy(corpus / "nitro" / item["name"], tmp_path)
    return tmp_path, items


@pytest.mark.corpus
def test_corpus(corpus, manifest, capsys):
    assert replay_nitro.main([str(corpus / "nitro")]) == 0
    assert capsys.readouterr().out == f"cases={len(manifest)} mismatches=0\n"


@pytest.mark.corpus
def test_one_of_each_category(copied, capsys):
    folder, items = copied
    _write(folder, *items.values())
    assert {"valid", "valid-debug", "invalid-signature"} <= items.keys()
    assert replay_nitro.main([str(folder)]) == 0
    assert capsys.readouterr().out == f"cases={len(items)} mismatches=0\n"


MISTAKEN = {
    "valid said to be debug": ("valid", "valid-debug", "expected debug, accepted"),
    "debug said to be valid": ("valid-debug", "valid", "expected accepted, debug"),
    "valid said to be invalid": ("valid", "invalid-signature", "expected refused, accepted"),
    "debug said to be invalid": ("valid-debug", "other", "expected refused, debug"),
    "invalid said to be valid": (
        "invalid-signature",
        "valid",
        "expected accepted, refused: cose-signature",
    ),
}


@pytest.mark.corpus
@pytest.mark.parametrize(("category", "other", "words"), MISTAKEN.values(), ids=MISTAKEN)
def test_document_of_another_category(copied, capsys, category, other, words):
    folder, items = copied
    name = items[category]["name"]
    _write(folder, items["valid"], {**items[category], "category": other})
    assert replay_nitro.main([str(folder)]) == 1
    assert capsys.readouterr().out == f"{name}: {words}\ncases=2 mismatches=1\n"


@pytest.mark.corpus
@pytest.mark.parametrize("category", ["valid", "valid-debug"])
@pytest.mark.parametrize("pcr", ["pcr0", "pcr1", "pcr2", "pcr3", "pcr4", "pcr8", "pcr31"])
def test_measurements_are_compared(copied, capsys, category, pcr):
    folder, items = copied
    _write(folder, items["valid"], {**items[category], pcr: "ab" * 48})
    assert replay_nitro.main([str(folder)]) == 1
    said = capsys.readouterr().out
    assert f"refused: PCR{pcr.removeprefix('pcr')} is not that of the manifest" in said
    assert said.endswith("cases=2 mismatches=1\n")

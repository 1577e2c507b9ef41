# SPDX-License-Identifier: Apache-2.0
"""The example of a sealer keeps the interface, and refuses what no sealer may open."""

import ast
import importlib
import tomllib
from pathlib import Path

import pytest
from zope.interface.verify import verifyClass, verifyObject

from certbot_enclave import errors
from certbot_enclave.interfaces import ISealer

FOLDER = Path(__file__).parents[3] / "examples" / "sealer"
DATA_KEY = bytes(range(32))
CONTEXT = {"kind": "bundle", "generation": "1"}


@pytest.fixture
def example(monkeypatch):
    """What the entry point names."""
    monkeypatch.syspath_prepend(FOLDER)
    project = tomllib.loads((FOLDER / "pyproject.toml").read_text())["project"]
    name, attribute = project["entry-points"]["certbot_enclave.sealers"]["keyfile"].split(":")
    return getattr(importlib.import_module(name), attribute)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "key"
    path.write_bytes(b"k" * 32)
    return path


def test_it_keeps_the_interface_and_says_that_it_does_not_protect(example, key_file):
    assert verifyClass(ISealer, example)
    sealer = example(str(key_file))
    assert verifyObject(ISealer, sealer)
    assert (sealer.scheme, sealer.simulated) == ("keyfile", True)
    assert sealer.key.isalnum()
    assert sealer.key not in key_file.read_bytes().hex()


def test_it_opens_what_it_sealed_and_nothing_else(example, key_file, tmp_path):
    sealer = example(str(key_file))
    wrapped = sealer.wrap(DATA_KEY, CONTEXT)
    assert DATA_KEY not in wrapped
    assert example(str(key_file)).unwrap(wrapped, dict(reversed(CONTEXT.items()))) == DATA_KEY
    (tmp_path / "other").write_bytes(b"o" * 32)
    other = example(str(tmp_path / "other"))
    assert other.key != sealer.key
    flipped = bytes([wrapped[0] ^ 1]) + wrapped[1:]
    for opener, given, context in [
        (sealer, wrapped, {**CONTEXT, "generation": "2"}),
        (sealer, flipped, CONTEXT),
        (sealer, wrapped[:-1], CONTEXT),
        (sealer, b"", CONTEXT),
        (other, wrapped, CONTEXT),
    ]:
        with pytest.raises(errors.SealError) as caught:
            opener.unwrap(given, context)
        assert caught.value.code == "sealed-elsewhere"


def test_it_needs_its_file(example, key_file, tmp_path):
    for path, code in [(tmp_path / "none", "keyfile-missing"), (tmp_path, "keyfile-missing")]:
        with pytest.raises(errors.EnclaveError) as caught:
            example(str(path))
        assert caught.value.code == code
    key_file.write_bytes(b"k" * 31)
    with pytest.raises(errors.EnclaveError) as caught:
        example(str(key_file))
    assert caught.value.code == "keyfile-size"


def test_it_is_about_forty_lines_and_imports_only_what_third_parties_may():
    source = (FOLDER / "certbot_enclave_keyfile.py").read_text()
    assert len([line for line in source.splitlines() if line]) <= 40
    imported = {
        f"{node.module}.{alias.name}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "certbot_enclave"
        for alias in node.names
    }
    assert imported == {"certbot_enclave.errors", "certbot_enclave.interfaces.ISealer"}

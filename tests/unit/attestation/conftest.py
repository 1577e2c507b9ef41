# SPDX-License-Identifier: Apache-2.0
"""Genuine documents, which may not be copied into the project."""

import json

import pytest


@pytest.fixture(scope="session")
def manifest(corpus):
    table = json.loads((corpus / "nitro" / "manifest.json").read_text())
    assert len(table["documents"]) == len(list((corpus / "nitro").glob("*.bin")))
    return table["documents"]


@pytest.fixture(scope="session")
def genuine(corpus, manifest):
    found = [item for item in manifest if item["category"].startswith("valid")]
    assert len(found) == 20
    return [(item, (corpus / "nitro" / item["name"]).read_bytes()) for item in found]

# SPDX-License-Identifier: Apache-2.0
"""Simulated enclaves: one of our own, and one of the same hardware with other code."""

import shutil

import pytest

from certbot_enclave.attestation import simulated


def _made(folder, code, like=None):
    folder.mkdir()
    image = folder / "app.bin"
    image.write_bytes(code)
    where = folder / "enclave"
    simulated.create(where, [image])
    if like is not None:
        for name in ("root.key", "root.pem", "sealing.key"):
            shutil.copy(like / name, where / name)
    return where


@pytest.fixture
def ours(tmp_path):
    """Directory of a simulated enclave."""
    return _made(tmp_path / "ours", b"code")


@pytest.fixture
def theirs(tmp_path, ours):
    """Another image on the same hardware, with the same key service."""
    return _made(tmp_path / "theirs", b"other code", like=ours)

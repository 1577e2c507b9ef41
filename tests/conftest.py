# SPDX-License-Identifier: Apache-2.0
"""Fixtures that every test may use."""

import os
from pathlib import Path

import hypothesis
import pytest

from tests.support.world.fixtures import (  # noqa: F401
    ca,
    derive_server,
    enclave,
    http_port,
    issued,
    kms_front,
    localstack,
    localstack_bucket,
    localstack_key,
    new_ca,
    owner,
    pebble,
    registered,
    shm,
    world,
)

# How long an example takes says how busy the machine is, and nothing else.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

TOP = Path(__file__).parent.parent
CORPUS = Path(os.environ.get("CERTBOT_ENCLAVE_CORPUS", TOP.parent / "shared" / "vectors"))


def pytest_collection_modifyitems(config, items):
    """Outside CI, tests of a corpus that is missing are deselected, with one line that says so."""
    if CORPUS.is_dir() or os.environ.get("CI") == "true":
        return
    missing = [item for item in items if item.get_closest_marker("corpus")]
    if missing:
        items[:] = [item for item in items if not item.get_closest_marker("corpus")]
        config.hook.pytest_deselected(items=missing)
        config.get_terminal_writer().line(
            f"{len(missing)} corpus tests left out: {CORPUS} is missing (CERTBOT_ENCLAVE_CORPUS)"
        )


def pytest_terminal_summary(terminalreporter):
    """What the kills of this run came to, in one line (tests/adversary/test_killed.py)."""
    kills = [
        (value, outcome)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties
        if name == "killed at" and report.when == "call"
    ]
    if kills:
        points, held = {point for point, _ in kills}, [end for _, end in kills if end == "passed"]
        terminalreporter.write_line(
            f"kill -9: points={len(points)} kills={len(kills)} "
            f"account and all that was acknowledged kept={len(held)} not={len(kills) - len(held)}"
        )


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder of test data that may not be copied into the project."""
    if not CORPUS.is_dir():
        pytest.fail(f"test data expected at {CORPUS}; set CERTBOT_ENCLAVE_CORPUS to its folder")
    return CORPUS


@pytest.fixture(scope="session")
def vectors() -> Path:
    """The project's own test data."""
    return Path(__file__).parent / "vectors"

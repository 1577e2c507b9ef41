# SPDX-License-Identifier: Apache-2.0
"""A time that cannot be is refused before anything is started."""

import pytest

from certbot_enclave import cli


@pytest.mark.parametrize("time", ["", "soon", "0s", "-1s"])
@pytest.mark.parametrize(
    ("command", "option", "rest"),
    [("run", "--timeout", ["--", "renew"]), ("follow", "--every", ["--once"])],
)
def test_time_that_cannot_be(capsys, shm, command, option, rest, time):
    places = [f"--{name}-dir={shm / name}" for name in ("config", "work", "logs")]
    assert cli.main([command, *places, f"{option}={time}", *rest]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("certbot-enclave: error: ")
    assert "such as" in said[0]
    assert list(shm.iterdir()) == []

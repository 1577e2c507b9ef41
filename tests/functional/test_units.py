# SPDX-License-Identifier: Apache-2.0
"""systemd itself takes the units of the pages."""

import subprocess

from tests.support.world.process import program
from tests.unit.docs.pages import BIN
from tests.unit.docs.test_units import INSTALLED, UNITS


def test_systemd_takes_the_units(tmp_path):
    for name, text in UNITS.items():
        (tmp_path / name).write_text(text.replace(INSTALLED, str(BIN / "certbot-enclave")))
    done = subprocess.run(
        [program("systemd-analyze"), "verify", *(tmp_path / name for name in UNITS)],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )
    said = [line for line in done.stderr.splitlines() if "certbot-enclave" in line]
    assert (done.returncode, said) == (0, []), done.stderr

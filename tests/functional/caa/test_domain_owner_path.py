# SPDX-License-Identifier: Apache-2.0
"""docs/domain-owner.md, run as it stands: from evidence to a lock that is proven, step by step.

The first block of each step is run, in order. Replaced is only what belongs to the Internet: name,
CA, resolvers, and the root of the hardware.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.functional.caa.asking import ISSUER
from tests.support import eif
from tests.support.world.dns import KEY, SECRET
from tests.support.world.enclave import BIN

PAGE = Path(__file__).parents[3] / "docs" / "domain-owner.md"
STEPS = re.findall(r"^## \d+\. .*?(?=^## )", PAGE.read_text(encoding="utf-8"), re.M | re.S)
# Differs from run to run, or between hardware and simulation.
MASKS = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "TIME"),
    (r"\b[\w-]{43}\b", "THUMBPRINT"),
    (r"\b[0-9a-f]{96}\b", "DIGEST"),
    (r"the (AWS Nitro|named) root", "ROOT"),
    (r"TTL \d+, by .*", "TTL, by RESOLVERS"),
)


def _masked(line):
    for pattern, name in MASKS:
        line = re.sub(pattern, name, line)
    return line


class Reader:
    """Somebody who does what the page says."""

    def __init__(self, folder, world, enclave, account):
        self.folder = folder
        self._enclave = enclave
        self._resolver = world.resolver
        self._here = {
            "example.com": "example.test",
            "letsencrypt.org;": "ca.test;",
            "https://acme-v02.api.letsencrypt.org/acme/acct/1234567890": account,
            "http://example.test/.well-known/certbot-enclave/evidence": enclave.evidence.as_uri(),
            "@9.9.9.9": f"@127.0.0.1 -p {world.resolver.port}",
            "--policy policy.toml": "--policy policy.toml --trust-root "
            f"{enclave.simulator / 'root.pem'}",
            "caa check": f"caa check --allow-issuer={ISSUER} --resolver {world.resolver.address}",
        }

    def _placed(self, text):
        for there, here in self._here.items():
            text = text.replace(there, here)
        return text

    def commands(self, number):
        """The commands of a step with the lines that the page shows of each."""
        block = re.search(r"^```console\n(.*?)^```$", STEPS[number - 1], re.M | re.S)[1]
        parts = re.split(r"^\$ (.*)\n", self._placed(block), flags=re.M)[1:]
        return list(zip(parts[::2], parts[1::2], strict=True))

    def run(self, number, code=0):
        """Do a step; every line that is shown must be printed, in that order."""
        for command, shown in self.commands(number):
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=60,
                env={"PATH": f"{BIN}:{os.environ['PATH']}"},
            )
            assert done.returncode == code, done.stdout
            if code == 0:
                printed = iter([_masked(line) for line in done.stdout.splitlines()])
                for line in shown.splitlines():
                    assert line == "…" or _masked(line) in printed, done.stdout
                assert bool(done.stdout) == bool(shown)

    def write_policy(self, number):
        """Save the page's policy with this enclave's digests, and accept the world around it."""
        (text,) = re.findall(r"^```toml\n(.*?)^```$", STEPS[number - 1], re.M | re.S)
        measured = json.loads((self._enclave.simulator / "measurements.json").read_text())
        for name, digest in measured["Measurements"].items():
            text = re.sub(rf'^{name} = ".*"$', f'{name} = "{digest}"', text, flags=re.M)
        server = self._enclave.server
        text += (
            f'resolver = ["{self._resolver.address}"]\nca_roots = "{self._enclave.tls_root}"\n'
            f'allow_issuer = ["{ISSUER}"]\n'
            f'[accept]\nconditions = ["issuer-not-enforcing:{ISSUER}"]\n'
            f'[directories."{server}"]\naccount_prefix = "{server.rpartition("/")[0]}/"\n'
            f'issuers = ["{ISSUER}"]\n'
        )
        (self.folder / "policy.toml").write_text(text)


@pytest.fixture
def reader(world, owner, enclave, shm):
    folder = shm / "reader"
    folder.mkdir()
    (folder / "app.eif").write_bytes(eif.pack())
    key = f'key "{KEY}" {{ algorithm hmac-sha256; secret "{SECRET}"; }};\n'
    (folder / "owner.key").write_text(key)
    return Reader(folder, world, enclave, enclave.registered()["account"])


def test_the_path_leads_from_evidence_to_a_proven_lock(world, enclave, reader):
    owner_does = [int(re.match(r"## (\d+)", step)[1]) for step in STEPS]
    assert owner_does == list(range(1, 11))
    reader.run(2)  # evidence; step 1 is this installation
    reader.run(3)  # a simulated enclave measures files, so its digests are not those of app.eif
    reader.write_policy(4)
    reader.run(5)  # verify
    reader.run(6)  # signed
    reader.run(7)  # emit
    reader.run(9, code=1)  # not published yet
    script = reader.folder / "caa.txt"
    # An owner's nsupdate finds the server by itself.
    script.write_text(f"server 127.0.0.1 {world.port}\n{script.read_text()}")
    reader.run(8)  # publish
    reader.run(9)  # exclusive
    enclave.issue().ok()

# SPDX-License-Identifier: Apache-2.0
"""A domain owner with evidence, a policy and a root, and how errors look to them."""

import time
from datetime import UTC, datetime, timedelta

from certbot_enclave import cli, statement
from certbot_enclave.attestation import simulated
from tests.support import forge
from tests.support.forge import STATEMENT


class World:
    """A simulated enclave, the files of a domain owner, and the command."""

    def __init__(self, folder, capsys):
        self.folder = folder
        self.enclave = folder / "enclave"
        self._capsys = capsys
        (folder / "app.bin").write_bytes(b"application")
        simulated.create(
            self.enclave, [folder / "app.bin"], now=datetime.now(UTC) - timedelta(days=30)
        )
        self.policy = self.enclave / "measurements.json"
        self.root = self.enclave / "root.pem"

    def evidence(self, *, name="evidence.json", nonce=None, age=0, **said):
        now = time.time() - age
        text = statement.build(
            STATEMENT._replace(issued_at=datetime.fromtimestamp(int(now), UTC), **said)
        )
        document = simulated.SimulatedAttester(str(self.enclave), lambda: now).attest(
            user_data=statement.user_data(text), public_key=forge.spki(forge.ACCOUNT), nonce=nonce
        )
        path = self.folder / name
        path.write_bytes(statement.build_evidence(text, document))
        return path

    def file(self, name, data):
        (self.folder / name).write_bytes(data)
        return self.folder / name

    def run(self, *arguments):
        code = cli.main([str(argument) for argument in arguments])
        return code, *self._capsys.readouterr()

    def verify(self, evidence, *more, policy=None, root=None, domain="example.com"):
        return self.run(
            "verify",
            evidence,
            *("--domain", domain),
            *("--policy", policy or self.policy),
            *("--trust-root", root or self.root),
            *more,
        )


def refused(outcome, code, words):
    """The exit code, nothing on stdout, and one error line with these words."""
    assert outcome[0] == code
    assert outcome[1] == ""
    lines = outcome[2].splitlines()
    assert lines[0].startswith("certbot-enclave: error: ")
    assert words in lines[0]
    assert all(line.startswith("certbot-enclave: hint: ") for line in lines[1:])
    return True

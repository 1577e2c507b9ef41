# SPDX-License-Identifier: Apache-2.0
"""LocalStack: the key service and S3 of AWS, in a venv of its own (tests/localstack.txt).

It checks neither attestation documents nor the conditions of key policies.
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

import requests
from requests_aws4auth import AWS4Auth

from tests.support.world.process import Process, Server, free_port

VENV = Path(__file__).parents[3] / ".venv-localstack"
REGION = "eu-central-1"
IDENTITY, SECRET = "test", "test"

# kms.CreateKey passes bytes to uuid.uuid5, which takes them from Python 3.12 on only.
SITECUSTOMIZE = """\
import sys, uuid
if sys.version_info < (3, 12):
    made = uuid.uuid5
    uuid.uuid5 = lambda space, name: made(
        space, name.decode("latin-1") if isinstance(name, bytes) else name
    )
"""


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/_localstack/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


class LocalStack(Server):
    """KMS and S3 on a free port of loopback.

    Args:
        folder: Where it keeps everything.
    """

    def __init__(self, folder: Path) -> None:
        python = VENV / "bin" / "python"
        if not (VENV / "ready").exists():
            raise FileNotFoundError(f"{VENV.name} is missing: make {VENV.name}/ready")
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        for name in ("site", "volume", "cache", "tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
        self._process = Process(
            [python, "-m", "localstack.runtime.main"],
            log=folder / "log",
            ready=lambda: _answers(self.url),
            directory=folder,
            environment={
                "PATH": f"{VENV / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": str(folder),
                "TMPDIR": str(folder / "tmp"),
                "XDG_CACHE_HOME": str(folder / "cache"),  # its list of plugins can be stale
                "PYTHONPATH": str(folder / "site"),
                "LANG": os.environ.get("LANG", "C.UTF-8"),
                "SERVICES": "kms,s3",
                "GATEWAY_LISTEN": f"127.0.0.1:{port}",
                "OVERRIDE_IN_DOCKER": "1",
                "SKIP_SSL_CERT_DOWNLOAD": "1",
                "DISABLE_EVENTS": "1",
                "DNS_ADDRESS": "0",
                "LOCALSTACK_VOLUME_DIR": str(folder / "volume"),
            },
        )

    def __enter__(self) -> LocalStack:
        """Return itself, ready."""
        return self

    def ask(
        self,
        service: str,
        method: str = "POST",
        path: str = "/",
        body: bytes | str = b"",
        headers: dict[str, str] | None = None,
    ) -> requests.Response:
        """Send one signed request."""
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method,
                self.url + path,
                data=body,
                headers=headers,
                auth=AWS4Auth(IDENTITY, SECRET, REGION, service),
                timeout=30,
            )

    def bucket(self, name: str) -> str:
        """Make a bucket, and return its name."""
        where = (
            f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint>"
            "</CreateBucketConfiguration>"
        )
        self.ask("s3", "PUT", f"/{name}", where).raise_for_status()
        return name

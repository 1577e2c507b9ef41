# SPDX-License-Identifier: Apache-2.0
"""LocalStack: the key service and S3 of AWS, in a venv of its own (tests/localstack.txt).

It checks neither attestation documents nor the conditions of key policies.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import requests
from requests_aws4auth import AWS4Auth

from tests.support.world.process import Process, Server, free_port

VENV = Path(__file__).parents[3] / ".venv-localstack"
REGION = "eu-central-1"
IDENTITY, SECRET = "test", "test"

# kms.CreateKey passes bytes to uuid.uuid5, which takes them from Python 3.12 on only; and S3 knows
# one place for all, which two runs at once would share.
START = """\
import os, sys, tempfile, uuid
if sys.version_info < (3, 12):
    made = uuid.uuid5
    uuid.uuid5 = lambda space, name: made(
        space, name.decode("latin-1") if isinstance(name, bytes) else name
    )
from localstack.services.s3 import provider
provider.DEFAULT_S3_TMP_DIR = os.path.join(tempfile.gettempdir(), "s3")
from localstack.runtime.main import main
main()
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
        (folder / "tmp").mkdir()
        (folder / "start.py").write_text(START)
        self._process = Process(
            [python, folder / "start.py"],
            log=folder / "log",
            ready=lambda: _answers(self.url),
            directory=folder,
            environment={
                "PATH": f"{VENV / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": str(folder),
                "TMPDIR": str(folder / "tmp"),
                "XDG_CACHE_HOME": str(folder / "cache"),  # its list of plugins can be stale
                "SERVICES": "kms,s3",
                "GATEWAY_LISTEN": f"127.0.0.1:{port}",
                "OVERRIDE_IN_DOCKER": "0",
                "FILESYSTEM_ROOT": str(folder / "root"),
                "SKIP_SSL_CERT_DOWNLOAD": "1",
                "DISABLE_EVENTS": "1",
                "DNS_ADDRESS": "0",
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

    def kms(self, operation: str, **request: Any) -> dict[str, Any]:
        """Ask the key service, and return its reply."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"TrentService.{operation}",
        }
        reply = self.ask("kms", body=json.dumps(request), headers=headers)
        reply.raise_for_status()
        table: dict[str, Any] = reply.json()
        return table

    def bucket(self, name: str) -> str:
        """Make a bucket, and return its name."""
        where = (
            f"<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint>"
            "</CreateBucketConfiguration>"
        )
        self.ask("s3", "PUT", f"/{name}", where).raise_for_status()
        return name

    def store(self, url: str = "") -> str:
        """Make a bucket, and return a store in it, as the settings name it.

        Args:
            url: Where whoever uses it asks for it, if not here.
        """
        place = self.bucket(f"b-{uuid.uuid4()}")
        return f"s3://{place}/enclave?region={REGION}&endpoint={url or self.url}"

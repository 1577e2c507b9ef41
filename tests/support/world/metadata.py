# SPDX-License-Identifier: Apache-2.0
"""Where an instance or a container finds its credentials: IMDSv2, and a container's endpoint."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.support.world.http_service import HttpService
from tests.support.world.kms import ACCESS_ID, SECRET, TOKEN

ROLE = "enclave-role"
ROLES = "/latest/meta-data/iam/security-credentials/"


class Metadata(HttpService):
    """A running endpoint.

    Attributes:
        url: Where it listens.
        asked: Method and path of every request, in order.
        headers: Header fields of the last one.
        answers: Path -> status and body; may be changed.
    """

    def __init__(self, expiration: str = "2027-01-15T08:00:00Z") -> None:
        members = {
            "Code": "Success",
            "AccessKeyId": ACCESS_ID,
            "SecretAccessKey": SECRET,
            "Token": TOKEN,
            "Expiration": expiration,
        }
        self.members: dict[str, Any] = members
        self.answers: dict[str, tuple[int, bytes]] = {
            "PUT /latest/api/token": (200, b"imds-token=="),
            f"GET {ROLES}": (200, ROLE.encode() + b"\n"),
        }
        self.asked: list[str] = []
        self.headers: dict[str, str] = {}

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """See `HttpService`."""
        return _handler(self)

    def respond(self, asked: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Answer; without the token, IMDSv2 answers 401."""
        self.asked.append(asked)
        self.headers = headers
        if asked in self.answers and "PUT" in asked:
            assert int(headers["x-aws-ec2-metadata-token-ttl-seconds"]) <= 21600
        elif ROLES in asked and headers.get("x-aws-ec2-metadata-token") != "imds-token==":
            return 401, b""
        known = json.dumps(self.members).encode()
        if asked in (f"GET {ROLES}{ROLE}", "GET /container?id=1"):
            return self.answers.get(asked, (200, known))
        return self.answers.get(asked, (404, b""))


def _handler(metadata: Metadata) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, body = metadata.respond(f"{self.command} {self.path}", headers)
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", body.decode())
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_PUT = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler

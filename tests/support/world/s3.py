# SPDX-License-Identifier: Apache-2.0
"""A store that speaks as much of S3 as a bundle needs, and lies as it is told.

It looks at conditions, and not at signatures: those that LocalStack refuses nobody sends.
"""

from __future__ import annotations

import hashlib
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import unquote

from tests.support.world.http_service import HttpService

NAME = "bundle"


def _etag(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'  # as S3 does; no secret hangs on it


class Refused(Exception):
    """Status and code of an error."""


class S3(HttpService):
    """A running store with one bucket, ``bucket``.

    Attributes:
        kept: Every version of each object, by its name below the prefix, the newest last.
        shows: The bundle that readers get in place of the newest, with the newest one's ETag.
        drops: How many writes of the bundle are acknowledged and forgotten, from now on.
        same: True to give everything one ETag, which every condition meets.
        refuses: Status and code for every write of the bundle; None to do it.
        asked: Method and name of every request, in order.
    """

    def __init__(self) -> None:
        self.kept: dict[str, list[bytes]] = {}
        self.shows: bytes | None = None
        self.drops = 0
        self.same = False
        self.refuses: tuple[int, str] | None = None
        self.asked: list[tuple[str, str]] = []

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """See `HttpService`."""
        return _handler(self)

    @property
    def place(self) -> str:
        """What the setting `store` says."""
        return f"s3://bucket/enclave?endpoint={self.url}"

    @property
    def newest(self) -> bytes:
        """The bundle that is kept now."""
        return self.kept[NAME][-1]

    def _present(self, name: str) -> str | None:
        versions = self.kept.get(name)
        if not versions:
            return None
        return '"one"' if self.same else _etag(versions[-1])

    def _put(self, name: str, body: bytes) -> str:
        if name == NAME and self.drops:
            self.drops -= 1
            return _etag(body)
        self.kept.setdefault(name, []).append(body)
        return str(self._present(name))

    def answer(self, method: str, name: str, headers: Any, body: bytes) -> tuple[str, bytes]:
        """Return ETag and body, or raise `Refused`."""
        self.asked.append((method, name))
        if method == "GET":
            if name not in self.kept:
                raise Refused(404, "NoSuchKey")
            data = self.kept[name][-1]
            lies = name == NAME and self.shows is not None
            return str(self._present(name)), self.shows if lies and self.shows else data
        if self.refuses is not None and name == NAME:
            raise Refused(*self.refuses)
        present = self._present(name)
        source = headers.get("x-amz-copy-source")
        if source is not None:
            copied = unquote(source).rpartition("/")[2]
            if self._present(copied) != headers["x-amz-copy-source-if-match"]:
                raise Refused(412, "PreconditionFailed")
            return self._put(name, self.kept[copied][-1]), b"<CopyObjectResult/>"
        lost = headers.get("If-Match") not in (None, present)
        if lost or (headers.get("If-None-Match") == "*" and present is not None):
            raise Refused(412, "PreconditionFailed")
        return self._put(name, body), b""


def _handler(store: S3) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            bucket, _, name = self.path.removeprefix("/").partition("/enclave/")
            status, etag = 200, ""
            try:
                if bucket != "bucket":
                    raise Refused(404, "NoSuchBucket")
                etag, reply = store.answer(self.command, name, self.headers, body)
            except Refused as refused:
                status, code = refused.args
                reply = f"<Error><Code>{code}</Code></Error>".encode()
            self.send_response(status)
            if etag:
                self.send_header("ETag", etag)
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        do_GET = do_PUT = _any

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler

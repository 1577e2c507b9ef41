# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Oyster's derive server: 64 bytes for each path, to every local caller.

The interface and the derivation (Marlin, oyster-monorepo, ``kms/derive-server``,
``kms/derive-utils``): ``GET /derive?path=P`` answers with the 64 bytes D(seed, P), and
``/derive/ed25519``, ``/derive/x25519`` and ``/derive/secp256k1`` with a secret of 32 made of them;
without a path the status is 400. D(k, m) = HMAC-SHA-512(HMAC-SHA-512(k, m), m).
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.world.http_service import HttpService

SECP256K1_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MOCK_SEED = bytes(64)
ROOT = bytes(range(64))


def derive(secret: bytes, message: bytes) -> bytes:
    """Return D(secret, message)."""
    return hmac.digest(hmac.digest(secret, message, "sha512"), message, "sha512")


def image_seed(image: bytes, root: bytes = ROOT) -> bytes:
    """Return what the root server gives an image; `image` is the SHA-256 over its PCRs."""
    return derive(root, image)


def contract_seed(chain: int, address: str, root: bytes = ROOT) -> bytes:
    """Return what the root server gives every image that the contract approves."""
    return derive(root, chain.to_bytes(8, "little") + address.lower().encode())


def _x25519(secret: bytes) -> bytes:
    clamped = bytearray(secret[:32])
    clamped[0] &= 248
    clamped[31] = clamped[31] & 127 | 64
    return bytes(clamped)


_FORMS: dict[str, Callable[[bytes], bytes]] = {
    "/derive": lambda secret: secret,
    "/derive/ed25519": lambda secret: secret[:32],
    "/derive/x25519": _x25519,
    "/derive/secp256k1": lambda secret: (
        int.from_bytes(secret[:32], "big") % (SECP256K1_ORDER - 1) + 1
    ).to_bytes(32, "big"),
}


class DeriveServer(HttpService):
    """A running stand-in.

    Args:
        seed: What the root server gave this enclave: of `image_seed`, `contract_seed`, or that of
            the mock.

    Attributes:
        seed: May be changed; then it is another enclave's server.
        address: Where it listens, ``HOST:PORT``.
        asked: Path and query of every request, in order.
    """

    def __init__(self, seed: bytes = MOCK_SEED) -> None:
        self.seed = seed
        self.asked: list[str] = []
        self._fault: dict[str, Any] = {}
        self._stopping = threading.Event()

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """See `HttpService`."""
        return _handler(self)

    def __exit__(self, *how: Any) -> None:
        """Stop, and let go whoever is kept waiting."""
        self._stopping.set()
        super().__exit__(*how)

    def fault(self, **fault: Any) -> None:
        """Do something wrong from now on, instead of what was told before; nothing if empty.

        Args:
            **fault: ``status``: in place of 200. ``body``: in place of the secret. ``location``:
                a header of that name. ``raw``: in place of the whole answer. ``silent``: True to
                say nothing until the server ends.
        """
        self._fault = fault

    def answer(self, target: str) -> tuple[int, bytes]:
        """Return status and body for path and query."""
        parts = urlsplit(target)
        form = _FORMS.get(parts.path)
        if form is None:
            return 404, b""
        named = parse_qs(parts.query, keep_blank_values=True, max_num_fields=8).get("path")
        if not named:
            return 400, b"Failed to deserialize query string: missing field `path`"
        return 200, form(derive(self.seed, named[0].encode()))


def _handler(server: DeriveServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            fault = server._fault
            status, body = server.answer(self.path)
            try:
                if fault.get("silent"):
                    server._stopping.wait()
                    return
                if "raw" in fault:
                    self.wfile.write(fault["raw"])
                    return
                self.send_response(fault.get("status", status))
                body = fault.get("body", body)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(len(body)))
                if "location" in fault:
                    self.send_header("Location", fault["location"])
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client had read enough

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler

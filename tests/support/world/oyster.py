# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Oyster's attestation server: documents over one key, under a throw-away root.

The interface (Marlin, oyster-monorepo, ``attestation/server``): ``GET /attestation/raw`` answers
with a document whose ``public_key`` is the file named at its start, whose ``user_data`` are empty,
and whose ``nonce`` is null. Callers cannot choose anything.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import forge
from tests.support.nsm_device import NsmDevice
from tests.support.world.http_service import HttpService

PATH = "/attestation/raw"


class Oyster(HttpService):
    """A running stand-in.

    Args:
        folder: Where its key file is written.
        pcrs: What PCR0 to PCR2 were measured to.
        key: The enclave's key.
        clock: Seconds since 1970.

    Attributes:
        url: Where it listens.
        key_file: The secret key, 32 bytes.
        root: DER of the root of its documents.
        asked: Method and path of every request, in order.
    """

    def __init__(
        self,
        folder: Path,
        pcrs: Mapping[int, bytes] = forge.PCRS,
        key: ec.EllipticCurvePrivateKey = forge.OYSTER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._device = NsmDevice(pcrs, clock)
        self._fault: dict[str, Any] = {}
        self.public_key = forge.oyster_key(key)
        self.root = self._device.root
        self.key_file = folder / "ecdsa.sec"
        self.key_file.write_bytes(key.private_numbers().private_value.to_bytes(32, "big"))
        self.asked: list[str] = []

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """See `HttpService`."""
        return _handler(self)

    @property
    def argument(self) -> str:
        """What `OysterAttester` takes."""
        return f"{self.url}#{self.key_file}"

    def document(self) -> bytes:
        """Make a document now."""
        wanted = {"user_data": b"", "nonce": None, "public_key": self.public_key}
        answer = cbor2.loads(self._device.respond(cbor2.dumps({"Attestation": wanted})))
        made: bytes = answer["Attestation"]["document"]
        return made

    def lock(self, index: int, data: bytes) -> None:
        """Extend a PCR and lock it, as Oyster's init does with the parameters of a job."""
        for request in (
            {"ExtendPCR": {"index": index, "data": data}},
            {"LockPCR": {"index": index}},
        ):
            answer = cbor2.load(io.BytesIO(self._device.respond(cbor2.dumps(request))))
            assert "Error" not in answer

    def fault(self, **fault: Any) -> None:
        """Do something wrong from now on, instead of what was told before; nothing if empty.

        Args:
            **fault: ``status``: in place of 200. ``body``: in place of the document. ``raw``: in
                place of the whole answer, and then the connection is closed.
        """
        self._fault = fault

    def answer(self) -> tuple[bytes | None, int, bytes]:
        """Return raw bytes to send as they are, or None, and status and body."""
        fault = self._fault
        body = fault["body"] if "body" in fault else self.document()
        return fault.get("raw"), fault.get("status", 200), body


def _handler(oyster: Oyster) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            oyster.asked.append(f"{self.command} {self.path}")
            raw, status, body = oyster.answer()
            if self.path != PATH:
                status, body = 404, b""
            try:
                if raw is not None:
                    self.wfile.write(raw)
                    return
                self.send_response(status)
                self.send_header("Content-Type", "application/octet-stream")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client had read enough

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler

# SPDX-License-Identifier: Apache-2.0
"""The host's proxy, which is the enclave's whole network: every tunnel leads where the host likes.

For the enclave it is the same as a name server that answers with an address of the host's.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType


class Tunnel:
    """A running proxy for ``CONNECT``.

    Args:
        port: Where on loopback every tunnel ends, whatever was asked for.

    Attributes:
        url: Where it listens.
        asked: Where each tunnel should have gone, ``HOST:PORT``.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.asked: list[str] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Tunnel:
        """Start."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._begin(self._listen)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _begin(self, work: object, *arguments: socket.socket) -> None:
        assert callable(work)
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                self._begin(self._serve, self._listener.accept()[0])

    def _serve(self, near: socket.socket) -> None:
        with contextlib.suppress(OSError), near:
            request = b""
            while b"\r\n\r\n" not in request:
                part = near.recv(4096)
                if not part:
                    return
                request += part
            self.asked.append(request.split(b" ")[1].decode())
            with socket.create_connection(("127.0.0.1", self._target), 10) as far:
                near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
                back = threading.Thread(target=_pump, args=(far, near), daemon=True)
                back.start()
                _pump(near, far)
                back.join(10)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    # Whoever still reads from the other one has to hear that nothing comes any more.
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)

# SPDX-License-Identifier: Apache-2.0
"""http-01 (RFC 8555 §8.3), served inside the enclave while an order is validated."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from types import TracebackType

from acme import standalone

from certbot_enclave import errors

Resource = standalone.HTTP01RequestHandler.HTTP01Resource
_POLL = 0.02  # seconds between looks at the stop flag; the library's 0.5 would delay every issuance


class Responder:
    """Serves key authorizations, and nothing else, over plain HTTP.

    Args:
        address: Address to listen on; empty means all.
        port: TCP port. The CA always connects to port 80 of the name; the host forwards it here.
        resources: What to serve.

    Raises:
        TransportError: The port is taken or not allowed (``http01-port``).
    """

    def __init__(self, address: str, port: int, resources: Iterable[Resource]) -> None:
        try:
            self._servers = standalone.HTTP01DualNetworkedServers((address, port), set(resources))
        except OSError as error:
            raise errors.TransportError(
                f"cannot listen for http-01 on {address or 'any address'} port {port}: "
                f"{error.strerror}",
                code="http01-port",
                hint="stop what uses the port, or name another with "
                "--http-01-port and forward port 80 to it",
            ) from error
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(_POLL,), daemon=True)
            for server in self._servers.servers
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Responder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening and wait until the port is free."""
        self._servers.shutdown_and_server_close()
        for thread in self._threads:
            thread.join()

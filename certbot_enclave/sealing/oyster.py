# SPDX-License-Identifier: Apache-2.0
"""The sealer ``oysterkms:``: secrets of Marlin Oyster's key service, by the server in this enclave.

``oyster-kms-derive-server`` fetches the enclave's seed once at its start, over an attested channel,
and answers every local caller ``GET /derive?path=P`` with 64 bytes, D(seed, P), where D(k, m) =
HMAC-SHA-512(HMAC-SHA-512(k, m), m) (Marlin, oyster-monorepo, ``kms/derive-utils``). The server at
port 1100 has the seed of the image: PCR0, PCR1, PCR2 and PCR16. That at port 1101 has the seed of a
contract, whose owner decides which images get it.

The key-encryption key is HKDF-SHA-256 of the 64 bytes of `SEAL_PATH`, with the info `_INFO`, as in
`wrapping`. Other paths are derived for others (`IDerivingSealer`): each path is one purpose.
"""

from __future__ import annotations

import hmac
import http.client
import ipaddress
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.interfaces import IDerivingSealer, ISealer
from certbot_enclave.sealing import wrapping

ADDRESS = "127.0.0.1:1100"
CONTRACT_ADDRESS = "127.0.0.1:1101"
SEAL_PATH = "certbot-enclave/seal/v1"
SIZE = 64  # bytes of each secret
TIMEOUT = 10.0  # seconds, for each step of the conversation
_INFO = b"certbot-enclave-oysterkms-sealer-v1"
_MOCK = "mock"
# Where Oyster's image starts its two servers. What listens elsewhere is known by its address only.
_MODES = {ADDRESS: "image", CONTRACT_ADDRESS: "contract"}


def _address(text: str) -> tuple[str, int]:
    """Return host and port of the server, which must be in this enclave."""
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname or "", parts.port or 0
        local = ipaddress.ip_address(host).is_loopback and port > 0 and parts.netloc == text
    except ValueError:
        local = False
    if not local or "@" in text:
        raise errors.PolicyError(
            f"{text!r} is no loopback address with a port",
            code="oyster-kms-address",
            hint="name it as oysterkms: for the seed of the image, "
            f"or oysterkms:{CONTRACT_ADDRESS} for that of a contract",
        )
    return host, port


def _of_mock(path: str) -> bytes:
    """Return what Oyster's mock answers: its seed is 64 zero bytes."""
    message = path.encode()
    inner = hmac.digest(bytes(SIZE), message, "sha512")
    return hmac.digest(inner, message, "sha512")


@implementer(ISealer, IDerivingSealer)
class OysterSealer:
    """Wraps data keys under a secret of Oyster's key service, which is asked when it is needed.

    Args:
        argument: ``HOST:PORT`` of the server, a loopback address; empty means `ADDRESS`. ``mock``
            or ``mock@HOST:PORT`` names Oyster's mock, whose secrets everybody knows.

    Raises:
        PolicyError: The server is not in this enclave (``oyster-kms-address``).
    """

    scheme = "oysterkms"

    def __init__(self, argument: str = "") -> None:
        self.simulated = argument == _MOCK or argument.startswith(f"{_MOCK}@")
        address = argument.removeprefix(_MOCK).removeprefix("@") if self.simulated else argument
        address = address or ADDRESS
        self._host, self._port = _address(address)
        self.key = _MOCK if self.simulated else _MODES.get(address, address)
        self._cipher: AESGCM | None = None

    def _answer(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        try:
            connection.request("GET", f"/derive?path={quote(path, safe='')}")
            with connection.getresponse() as answer:
                return answer.status, answer.read(SIZE + 1)
        except (OSError, http.client.HTTPException) as error:
            # Without its cause: what the server sent instead of HTTP may be the secret.
            raise errors.TransportError(
                f"the derive server at {self._host} port {self._port} does not answer: "
                f"{type(error).__name__}",
                code="oyster-kms-unreachable",
                hint="is it running in this enclave, and does the container have the host's "
                "network? for a contract it is at port 1101",
            ) from None
        finally:
            connection.close()

    def derive(self, path: str) -> bytes:
        """See `IDerivingSealer.derive`; the path is sent in UTF-8.

        Raises:
            SealError: The server refused (``sealer-refused``), its answer is no secret
                (``oyster-kms-answer``), or it is the mock and was not named so
                (``oyster-kms-mock``).
            TransportError: It does not answer (``oyster-kms-unreachable``).
        """
        status, secret = self._answer(path)
        # First of all: bodies of errors have 64 bytes too, all of them zero.
        if status != 200:
            raise errors.SealError(
                f"the derive server refuses {path}: status {status}",
                code="sealer-refused",
                hint="in contract mode the contract's owner must have approved this image; "
                "see the log of the derive server",
            )
        if len(secret) != SIZE or secret == bytes(SIZE):
            what = "zeros" if secret == bytes(SIZE) else f"{len(secret)} bytes"
            raise errors.SealError(
                f"the derive server answers with {what}, expected {SIZE} secret bytes",
                code="oyster-kms-answer",
                hint="something else listens there, or the server has no seed: start it anew",
            )
        if not self.simulated and hmac.compare_digest(secret, _of_mock(path)):
            raise errors.SealError(
                "the derive server is Oyster's mock, whose secrets everybody knows",
                code="oyster-kms-mock",
                hint="in a simulated enclave name it so: oysterkms:mock",
            )
        return secret

    def _ready(self) -> AESGCM:
        if self._cipher is None:
            self._cipher = wrapping.cipher(self.derive(SEAL_PATH), _INFO)
        return self._cipher

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> bytes:
        """See `ISealer.wrap`; errors of `derive`."""
        return wrapping.wrap(self._ready(), data_key, context)

    def unwrap(self, wrapped: bytes, context: Mapping[str, str]) -> bytes:
        """See `ISealer.unwrap`; errors of `derive`."""
        return wrapping.unwrap(self._ready(), wrapped, context)

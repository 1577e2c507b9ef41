# SPDX-License-Identifier: Apache-2.0
"""Attestation where Marlin Oyster's image gives no access to the security module.

Inside an Oyster enclave a server on port 1301 gives documents over the enclave's secp256k1 key
(``/app/ecdsa.sec``, made anew at each boot), and takes no wishes. That key signs what we have to
say (`oyster_signed`). Oyster's other server, which attests whatever any local caller asks for, is
not used: one forged request would hand out every key that is bound to the image.
"""

from __future__ import annotations

import http.client
import ipaddress
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.attestation import cose, document, oyster_signed
from certbot_enclave.interfaces import IAttester

URL = "http://127.0.0.1:1301"
KEY_FILE = "/app/ecdsa.sec"
PATH = "/attestation/raw"
MAX_DOCUMENT = 64 * 1024  # bytes
TIMEOUT = 10.0  # seconds
_HALF = oyster_signed.SIGNATURE_SIZE // 2


def _address(url: str) -> tuple[str, int]:
    """Return host and port of the server, which must be in this enclave."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or 80
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local or parts.scheme != "http" or parts.path not in ("", "/") or parts.query:
        raise errors.PolicyError(
            f"{url} is no http URL of a loopback address",
            code="oyster-url",
            hint=f"name it as --enclave-attester oyster:{URL}#{KEY_FILE}, or leave it at auto",
        )
    return host, port


def _key(path: str) -> ec.EllipticCurvePrivateKey:
    try:
        secret = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise errors.EnclaveError(f"there is no {path}", code="attester-absent") from error
    except OSError as error:
        raise errors.EnclaveError(
            f"cannot read {path}: {error.strerror}", code="oyster-key-file"
        ) from error
    try:
        if len(secret) != _HALF:
            raise ValueError("wrong length")
        return ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP256K1())
    except ValueError:
        # Without its cause: nothing that knows the key may be printed.
        raise errors.EnclaveError(
            f"{path} is no secp256k1 key of {_HALF} bytes", code="oyster-key-file"
        ) from None


@implementer(IAttester)
class OysterAttester:
    """Takes Oyster's document, and signs with the key in it.

    Args:
        argument: ``URL#KEYFILE``; either may be left out.

    Raises:
        EnclaveError: There is no key file (``attester-absent``), or it is none
            (``oyster-key-file``).
        PolicyError: The URL is not in this enclave (``oyster-url``).
    """

    simulated = False
    format = "oyster-signed"
    trust_root: bytes | None = None

    def __init__(self, argument: str = "") -> None:
        url, _, path = argument.partition("#")
        self._host, self._port = _address(url or URL)
        self._key = _key(path or KEY_FILE)
        numbers = self._key.public_key().public_numbers()
        self._public = b"".join(part.to_bytes(_HALF, "big") for part in (numbers.x, numbers.y))

    def _document(self) -> bytes:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        try:
            connection.request("GET", PATH)
            with connection.getresponse() as answer:
                data = answer.read(MAX_DOCUMENT + 1)
        except (OSError, http.client.HTTPException) as error:
            raise errors.EnclaveError(
                f"the attestation server at {self._host} port {self._port} does not answer: "
                f"{type(error).__name__}",
                code="oyster-unreachable",
                hint="is oyster-attestation-server running in this enclave, with ecdsa.pub?",
            ) from error
        finally:
            connection.close()
        if answer.status != 200 or len(data) > MAX_DOCUMENT:
            raise errors.EnclaveError(
                f"the attestation server answers {answer.status} with {len(data)} bytes",
                code="oyster-answer",
            )
        return data

    def attest(self, *, user_data: bytes, public_key: bytes, nonce: bytes | None) -> bytes:
        """See `IAttester.attest`; `public_key` is not in the document, so the statement binds it.

        Raises:
            EnclaveError: The server does not answer (``oyster-unreachable``), or with something
                else than a document over this enclave's key (``oyster-answer``).
        """
        data = self._document()
        try:
            shown = document.parse(cose.parse(data).payload).public_key
        except errors.FormatError as error:
            raise errors.EnclaveError(
                f"the attestation server gave no document: {error}", code="oyster-answer"
            ) from error
        if shown != self._public:
            raise errors.EnclaveError(
                "the attestation server vouches for another key than that of the key file",
                code="oyster-answer",
                hint="take the server and the key file of one enclave: port 1301 and ecdsa.sec",
            )
        signed = oyster_signed.message(user_data, nonce)
        r, s = decode_dss_signature(self._key.sign(signed, ec.ECDSA(SHA256())))
        return data + r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")

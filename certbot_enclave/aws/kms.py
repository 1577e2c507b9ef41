# SPDX-License-Identifier: Apache-2.0
"""The key service, by its JSON protocol: ``Encrypt``, and ``Decrypt`` for an attested recipient.

What it answers is believed as far as TLS goes: the endpoint follows from the key's ARN, the roots
are the image's, and the reply must name the very key that was asked for.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from certbot_enclave import errors
from certbot_enclave.aws import exchange, refusals, signing
from certbot_enclave.aws.arn import KeyArn
from certbot_enclave.aws.credentials import Chain

MAX_BLOB = 6144  # bytes of a ciphertext, as the key service bounds it
DELAYS = (0.2, 0.6, 1.8)  # seconds before each further try


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("duplicate member")
    return table


def _broken(what: str) -> errors.SealError:
    return errors.SealError(
        f"reply of the key service: {what}",
        code="kms-reply",
        hint="is the endpoint that of the key service?",
    )


def _table(body: bytes) -> dict[str, Any]:
    try:
        table = json.loads(body.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        table = None
    if not isinstance(table, dict):
        raise _broken("no JSON object")
    return table


def _blob(reply: Mapping[str, Any], name: str, most: int) -> bytes:
    try:
        data = base64.b64decode(reply[name], validate=True)
    except (KeyError, TypeError, ValueError, binascii.Error):
        raise _broken(f"no {name}") from None
    if not 1 <= len(data) <= most:
        raise _broken(f"{name} of {len(data)} bytes")
    return data


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


class Kms:
    """Uses one key.

    Args:
        arn: The key.
        credentials: Where credentials come from.
        endpoint: URL in place of the one that the ARN gives.
        roots: PEM file of roots in place of the built-in ones.
        proxy: URL of a proxy that TLS is tunnelled through.
        clock: Seconds since 1970.
        sleep: Waits so many seconds.
    """

    def __init__(
        self,
        arn: KeyArn,
        credentials: Chain,
        *,
        endpoint: str = "",
        roots: str = "",
        proxy: str = "",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        signing.require()
        self._arn, self._credentials = arn, credentials
        self._url = (endpoint or arn.endpoint).rstrip("/") + "/"
        self._roots, self._proxy = roots, proxy
        self._clock, self._sleep = clock, sleep

    def _once(self, target: str, body: bytes) -> exchange.Reply:
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": f"TrentService.{target}",
            **signing.dated(self._clock()),
        }
        return exchange.send(
            "POST",
            self._url,
            headers=headers,
            body=body,
            sign=signing.signer(self._credentials.get(), self._arn.region, "kms"),
            roots=self._roots,
            proxy=self._proxy,
        )

    def _refused(self, target: str, reply: exchange.Reply) -> errors.Error:
        """Return the error that a reply means."""
        if 300 <= reply.status < 400:
            return _broken(f"status {reply.status}")
        table = _table(reply.body) if reply.status < 500 else {}
        return refusals.meaning(f"{target} with {self._arn.text}", reply.status, table)

    def _call(self, target: str, request: Mapping[str, Any]) -> dict[str, Any]:
        body = json.dumps({"KeyId": self._arn.text, **request}).encode()
        for delay in (*DELAYS, None):
            try:
                reply = self._once(target, body)
                if reply.status == 200:
                    return self._checked(_table(reply.body))
                error = self._refused(target, reply)
            except errors.TransportError as unreachable:
                error = unreachable
            if error.code == "kms-credentials":
                self._credentials.forget()
            again = ("kms-busy", "kms-credentials", "aws-unreachable")
            if delay is None or error.code not in again:
                break
            self._sleep(delay)
        raise error

    def _checked(self, reply: dict[str, Any]) -> dict[str, Any]:
        if reply.get("KeyId") != self._arn.text:
            raise errors.SealError(
                f"the key service answered for another key than {self._arn.text}",
                code="kms-other-key",
                hint="do not use this endpoint: it is not what it should be",
            )
        return reply

    def encrypt(self, plaintext: bytes, context: Mapping[str, str]) -> bytes:
        """Encrypt under the key.

        Args:
            plaintext: At most 4096 bytes.
            context: Must be given again to `decrypt`; stands in the service's log.

        Raises:
            SealError: The service refuses; the codes are in docs/errors.md.
            TransportError: It cannot be reached or is busy.
        """
        request = {"Plaintext": _encode(plaintext), "EncryptionContext": dict(context)}
        return _blob(self._call("Encrypt", request), "CiphertextBlob", MAX_BLOB)

    def decrypt(self, ciphertext: bytes, context: Mapping[str, str], document: bytes) -> bytes:
        """Decrypt for the public key in an attestation document.

        Args:
            ciphertext: From `encrypt`.
            context: The same as there.
            document: Carries an RSA key.

        Returns:
            The envelope for that key (`cms.decrypt`).

        Raises:
            SealError: The service refuses, or gives out the plaintext to whoever can read it
                (``kms-unattested``).
            TransportError: It cannot be reached or is busy.
        """
        reply = self._call(
            "Decrypt",
            {
                "CiphertextBlob": _encode(ciphertext),
                "EncryptionContext": dict(context),
                "Recipient": {
                    "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
                    "AttestationDocument": _encode(document),
                },
            },
        )
        if reply.get("Plaintext") is not None:
            raise errors.SealError(
                "the key service gave out the plaintext, not an envelope for this enclave",
                code="kms-unattested",
                hint="do not use this endpoint: it ignores attestation",
            )
        return _blob(reply, "CiphertextForRecipient", exchange.MAX_REPLY)

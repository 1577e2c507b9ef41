# SPDX-License-Identifier: Apache-2.0
"""A key service on loopback that does what Amazon's does, conditions on PCRs included.

Signatures are checked here by the text of AWS's manual ("Create a signed AWS API request"), with
nothing of the product's; so are keys and contexts. Documents are verified to the root that it was
given, and their PCRs compared with its policy, as ``kms:RecipientAttestation:PCRn`` does.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from typing import Any

import trustme
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_der_public_key

from certbot_enclave import errors
from certbot_enclave.attestation import document
from tests.support import cms
from tests.support.world.http_service import HttpService

REGION = "eu-central-1"
ARN = f"arn:aws:kms:{REGION}:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
ACCESS_ID, SECRET, TOKEN = "ASIATESTTESTTESTTEST", "secret/of+tests", "token-of-tests=="
OLD_DOCUMENT = 300.0  # seconds


class Refused(Exception):
    """An error in the service's protocol: its type and message."""


def signature(secret: str, request: Any, body: bytes, signed: list[str], scope: str) -> str:
    """Compute Signature Version 4 of a request as it arrived."""
    path, _, query = request.path.partition("?")
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed)
    payload = hashlib.sha256(body).hexdigest()
    canonical = "\n".join(
        [request.command, path, query, headers, ";".join(signed), payload]
    ).encode()
    to_sign = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            request.headers["x-amz-date"],
            scope,
            hashlib.sha256(canonical).hexdigest(),
        ]
    )
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


class KmsFront(HttpService):
    """A running key service.

    Args:
        root: DER of the root of attestation documents.
        pcrs: What the key's policy demands; other measurements are denied.
        authority: Issues its certificate for TLS; None for plain HTTP.
        clock: Seconds since 1970.
        name: What that certificate is for.

    Attributes:
        url: Where it listens.
        asked: Operation of every request, in order.
        requests: What each asked for.
        pcrs, clock, root: As above; may be changed.
    """

    def __init__(
        self,
        root: bytes,
        pcrs: Mapping[int, bytes],
        authority: trustme.CA | None = None,
        clock: Callable[[], float] = time.time,
        name: str = "127.0.0.1",
    ) -> None:
        self.root, self.pcrs, self.clock = root, pcrs, clock
        self.authority, self.certified = authority, name
        self._cipher = AESGCM(os.urandom(32))
        self._faults: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.requests: list[dict[str, Any]] = []

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """See `HttpService`."""
        return _handler(self)

    def fault(self, count: int = 1, **fault: Any) -> None:
        """Answer the next requests wrongly.

        Args:
            count: How many.
            **fault: ``kind`` and ``message``: an error. ``status``, ``body``, ``headers``: in place
                of the true ones. ``change``: a function on the members of the reply. ``raw``: bytes
                in place of the whole answer.
        """
        self._faults += [fault] * count

    def authenticate(self, request: Any, body: bytes) -> None:
        """Check who asks."""
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        if scheme != "AWS4-HMAC-SHA256":
            raise Refused("MissingAuthenticationTokenException", "Missing Authentication Token")
        fields = dict(part.strip().split("=", 1) for part in rest.split(","))
        access_id, _, scope = fields["Credential"].partition("/")
        if access_id != ACCESS_ID or request.headers.get("x-amz-security-token") != TOKEN:
            raise Refused("UnrecognizedClientException", "The security token is invalid.")
        signed = fields["SignedHeaders"].split(";")
        named = {name.lower() for name in request.headers}
        must = {"host"} | {name for name in named if name.startswith(("x-amz-", "content-type"))}
        date = request.headers["x-amz-date"]
        made = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        if scope.split("/")[1] != REGION:
            said = "Credential should be scoped to a valid region."
            raise Refused("InvalidSignatureException", said)
        if scope != f"{date[:8]}/{REGION}/kms/aws4_request" or not must <= set(signed):
            raise Refused("InvalidSignatureException", "Credential should be scoped correctly")
        if abs(made - self.clock()) > 300:
            raise Refused("InvalidSignatureException", f"Signature expired: {date}")
        if fields["Signature"] != signature(SECRET, request, body, signed, scope):
            text = f"does not match; x-amz-security-token:{TOKEN}"
            raise Refused("InvalidSignatureException", f"The request signature {text}")

    def answer(self, operation: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Do what was asked."""
        if asked["KeyId"] != ARN:
            raise Refused("NotFoundException", "Key does not exist")
        context = json.dumps(asked.get("EncryptionContext", {}), sort_keys=True).encode()
        if operation == "Encrypt":
            nonce = os.urandom(12)
            plaintext = base64.b64decode(asked["Plaintext"])
            blob = nonce + self._cipher.encrypt(nonce, plaintext, context)
            return {
                "CiphertextBlob": base64.b64encode(blob).decode(),
                "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                "KeyId": ARN,
            }
        public = self._attested(asked.get("Recipient"))
        blob = base64.b64decode(asked["CiphertextBlob"])
        try:
            plaintext = self._cipher.decrypt(blob[:12], blob[12:], context)
        except InvalidTag:
            raise Refused("InvalidCiphertextException", "") from None
        return {
            "CiphertextForRecipient": base64.b64encode(cms.seal(public, plaintext)).decode(),
            "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
            "KeyId": ARN,
        }

    def _attested(self, recipient: Mapping[str, str] | None) -> rsa.RSAPublicKey:
        denied = Refused(
            "AccessDeniedException",
            f"User is not authorized to perform: kms:Decrypt on resource: {ARN} "
            "with an explicit deny in a resource-based policy",
        )
        if recipient is None:
            raise denied
        if recipient["KeyEncryptionAlgorithm"] != "RSAES_OAEP_SHA_256":
            raise Refused("ValidationException", "KeyEncryptionAlgorithm")
        try:
            raw = base64.b64decode(recipient["AttestationDocument"])
            seen = document.authenticate(raw, trust_root=self.root)
        except errors.Error:
            raise Refused("ValidationException", "Invalid attestation document") from None
        if abs(seen.timestamp_ms / 1000 - self.clock()) > OLD_DOCUMENT:
            raise Refused("ValidationException", "Attestation document is expired")
        if any(seen.pcrs.get(index) != value for index, value in self.pcrs.items()):
            raise denied
        public = load_der_public_key(seen.public_key or b"")
        assert isinstance(public, rsa.RSAPublicKey)
        assert public.key_size >= 2048
        return public

    def respond(self, request: Any, body: bytes) -> tuple[int, bytes, dict[str, Any]]:
        """Return status, body, and what was told to go wrong."""
        fault = self._faults.pop(0) if self._faults else {}
        target = request.headers["X-Amz-Target"]
        self.asked.append(target.removeprefix("TrentService."))
        try:
            self.authenticate(request, body)
            assert request.headers["Content-Type"] == "application/x-amz-json-1.1"
            asked = json.loads(body)
            self.requests.append(asked)
            if "kind" in fault:
                raise Refused(fault["kind"], fault.get("message", ""))
            reply = self.answer(self.asked[-1], asked)
            fault.get("change", lambda members: None)(reply)
            status = 200
        except Refused as refused:
            kind, message = refused.args
            reply, status = {"__type": kind, "message": message}, 400
        given = fault.get("body", json.dumps(reply).encode())
        return fault.get("status", status), given, fault


def _handler(front: KmsFront) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status, answer, fault = front.respond(self, body)
            if "raw" in fault:
                self.wfile.write(fault["raw"])
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in fault.get("headers", {}).items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return Handler

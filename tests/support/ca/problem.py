# SPDX-License-Identifier: Apache-2.0
"""Problem documents (RFC 7807, RFC 8555 section 6.7) as one exception."""

from __future__ import annotations

from typing import Any

PREFIX = "urn:ietf:params:acme:error:"

# RFC 8555 leaves most status codes to the server; these are the usual ones.
STATUS = {
    "accountDoesNotExist": 400,
    "alreadyRevoked": 400,
    "badCSR": 400,
    "badNonce": 400,
    "badPublicKey": 400,
    "badRevocationReason": 400,
    "badSignatureAlgorithm": 400,
    "caa": 403,
    "connection": 400,
    "dns": 400,
    "externalAccountRequired": 403,
    "invalidContact": 400,
    "malformed": 400,
    "orderNotReady": 403,
    "rejectedIdentifier": 400,
    "serverInternal": 500,
    "unauthorized": 403,
    "unsupportedContact": 400,
    "unsupportedIdentifier": 400,
    "userActionRequired": 403,
}


class Problem(Exception):
    """A request, or a validation, that ends in a problem document.

    Attributes:
        type: Name of the error without the urn prefix.
        detail: Text for people.
        status: HTTP status code.
        members: Further members of the document, such as ``algorithms``.
        headers: Further header fields of the answer.
    """

    def __init__(
        self,
        type_: str,
        detail: str,
        *,
        status: int | None = None,
        members: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(f"{type_}: {detail}")
        self.type = type_
        self.detail = detail
        self.status = STATUS.get(type_, 400) if status is None else status
        self.members = members or {}
        self.headers = headers or {}

    def document(self) -> dict[str, Any]:
        """The problem document as a JSON object."""
        head = {"type": PREFIX + self.type, "detail": self.detail, "status": self.status}
        return head | self.members


def malformed(detail: str, status: int | None = None) -> Problem:
    """The commonest problem."""
    return Problem("malformed", detail, status=status)

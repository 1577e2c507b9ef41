# SPDX-License-Identifier: Apache-2.0
"""What passes between the HTTP server and the resources."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from tests.support.ca.jose import Jwk, json_object
from tests.support.ca.problem import Problem, malformed
from tests.support.ca.state import Account

PROBLEM_TYPE = "application/problem+json"


class _Owned(Protocol):
    account: int


T = TypeVar("T", bound=_Owned)


@dataclass(frozen=True)
class Request:
    """An HTTP request as it came."""

    method: str
    path: str
    content_type: str = ""
    body: bytes = b""


@dataclass
class Reply:
    """An HTTP response to be sent. ``problem`` and ``account`` are for the log only."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    problem: str | None = None
    account: str | None = None


@dataclass(frozen=True)
class Signed:
    """A POST whose JWS passed every check of RFC 8555 section 6.2 to 6.5.

    Attributes:
        url: The request URL, equal to the one in the protected header.
        payload: Octets; empty for POST-as-GET.
        jwk: The key that verified the signature.
        account: The account, if the header had ``kid``.
    """

    url: str
    payload: bytes
    jwk: Jwk
    account: Account | None

    def object(self) -> dict[str, Any]:
        """The payload as a JSON object."""
        return json_object(self.payload, "payload")

    def require_account(self) -> Account:
        """The account; for resources that only take ``kid``."""
        if self.account is None:
            raise malformed("this resource needs kid, not jwk")
        return self.account

    def require_get(self) -> None:
        """Refuse a payload where only POST-as-GET is allowed."""
        if self.payload:
            raise malformed("POST-as-GET with an empty payload is expected")


def json_reply(value: object, status: int = 200, **headers: str) -> Reply:
    """A JSON body; header names are given with underscores."""
    fields = {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), headers=fields)


def problem_reply(problem: Problem) -> Reply:
    """A problem document."""
    body = json.dumps(problem.document()).encode()
    return Reply(problem.status, body, PROBLEM_TYPE, dict(problem.headers), problem.type)


def owned(objects: dict[int, T], number: int, signed: Signed) -> T:
    """One object of the requesting account."""
    account = signed.require_account()
    if number not in objects:
        raise malformed("there is no such object", status=404)
    if objects[number].account != account.id:
        raise Problem("unauthorized", "this object belongs to another account")
    return objects[number]


def time_text(moment: datetime) -> str:
    """RFC 3339, in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

# SPDX-License-Identifier: Apache-2.0
"""How control over a name is proven: a table of challenge types, and the thread that asks."""

from __future__ import annotations

import hmac
import http.client
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.ca.authority import Authority
from tests.support.ca.problem import Problem
from tests.support.ca.state import Authorization, Challenge

MAX_RESPONSE = 1024


@dataclass(frozen=True)
class ChallengeType:
    """One validation method.

    Attributes:
        wildcard: May prove control over a wildcard.
        validate: Called with CA, name, token and key authorization; raises Problem on failure.
    """

    wildcard: bool
    validate: Callable[[Authority, str, str, str], None]


def http01(ca: Authority, name: str, token: str, expected: str) -> None:
    """Validate http-01 (RFC 8555 section 8.3). Redirects are not followed.

    Raises:
        Problem: ``dns``, ``connection`` or ``unauthorized``.
    """
    address = ca.addresses(name)[0]
    port = ca.config.http_port
    path = f"/.well-known/acme-challenge/{token}"
    connection = http.client.HTTPConnection(address, port, timeout=ca.config.http_timeout)
    try:
        connection.request("GET", path, headers={"Host": name, "Connection": "close"})
        response = connection.getresponse()
        body = response.read(MAX_RESPONSE)
    except (OSError, http.client.HTTPException) as e:
        detail = f"fetching http://{name}{path} from {address}:{port}: {e or type(e).__name__}"
        raise Problem("connection", detail) from e
    finally:
        connection.close()
    if response.status != 200:
        raise Problem("unauthorized", f"http://{name}{path} answered {response.status}")
    if not hmac.compare_digest(body.rstrip(), expected.encode()):
        raise Problem("unauthorized", f"http://{name}{path} holds another key authorization")


CHALLENGE_TYPES = {"http-01": ChallengeType(wildcard=False, validate=http01)}


def types_for(wildcard: bool) -> list[str]:
    """The challenge types to offer for a name."""
    return [name for name, type_ in CHALLENGE_TYPES.items() if type_.wildcard or not wildcard]


def validate(ca: Authority, authorization: Authorization, challenge: Challenge) -> None:
    """Try one challenge, then CAA, and store how it ended. Runs in its own thread."""
    state = ca.state
    with state.lock:
        account = state.accounts[authorization.account]
        key_authorization = f"{challenge.token}.{account.jwk.thumbprint}"
    problem = None
    try:
        method = CHALLENGE_TYPES[challenge.type]
        method.validate(ca, authorization.name, challenge.token, key_authorization)
        ca.require_caa(
            authorization.name, authorization.wildcard, account, challenge.type, "validation"
        )
    except Problem as e:
        problem = e
    except Exception as e:  # the thread's last stop: the challenge must not stay "processing"
        problem = Problem("serverInternal", f"{type(e).__name__}: {e}")
    with state.lock:
        valid = problem is None
        challenge.status = "valid" if valid else "invalid"
        if problem is None:
            challenge.validated = ca.now()
        else:
            challenge.error = problem.document()
        if authorization.status == "pending":
            authorization.status = challenge.status
            authorization.method = challenge.type if valid else None
        ca.control.events["validations_valid" if valid else "validations_invalid"] += 1

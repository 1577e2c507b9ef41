# SPDX-License-Identifier: Apache-2.0
"""Authorizations and challenges: RFC 8555 section 7.5."""

from __future__ import annotations

import secrets
import threading
from datetime import datetime, timedelta
from typing import Any

from tests.support.ca.authority import Authority
from tests.support.ca.jose import b64url
from tests.support.ca.messages import Reply, Signed, json_reply, owned, time_text
from tests.support.ca.problem import malformed
from tests.support.ca.state import Account, Authorization, Challenge
from tests.support.ca.validation import types_for, validate

LIFETIME = timedelta(days=30)


def authorization(ca: Authority, signed: Signed, number: int) -> Reply:
    """Read or deactivate an authorization (sections 7.5, 7.5.2)."""
    payload = signed.object() if signed.payload else {}
    with ca.state.lock:
        found = owned(ca.state.authorizations, number, signed)
        if payload:
            if payload != {"status": "deactivated"}:
                raise malformed("status deactivated is all that can be set")
            if found.status not in ("pending", "valid"):
                raise malformed(f"the authorization is {found.status}")
            found.status = "deactivated"
        reply = json_reply(_authorization_object(ca, found))
        if found.status == "pending":
            reply.headers["Retry-After"] = str(ca.config.retry_after)
        return reply


def challenge(ca: Authority, signed: Signed, number: int) -> Reply:
    """Read a challenge, or have it validated (section 7.5.1)."""
    if signed.payload:
        signed.object()  # its members are for the challenge type; http-01 has none
    with ca.state.lock:
        if number not in ca.state.challenges:
            raise malformed("there is no such challenge", status=404)
        found = ca.state.challenges[number]
        parent = owned(ca.state.authorizations, found.authorization, signed)
        open_ = ca.state.authorization_status(parent, ca.now()) == "pending"
        busy = any(ca.state.challenges[i].status == "processing" for i in parent.challenges)
        if signed.payload and open_ and not busy and found.status == "pending":
            found.status = "processing"
            work = threading.Thread(target=validate, args=(ca, parent, found), daemon=True)
            work.start()
        reply = json_reply(_challenge_object(ca, found))
        reply.headers["Link"] = f'<{ca.url("authz", parent.id)}>;rel="up"'
        if found.status == "processing":
            reply.headers["Retry-After"] = str(ca.config.retry_after)
        return reply


def authorize(ca: Authority, account: Account, identifier: str) -> Authorization:
    """A valid authorization that may be used again, or a new one. Hold the lock."""
    return _reusable(ca, account, identifier, ca.now()) or _new(ca, account, identifier)


def _reusable(
    ca: Authority, account: Account, identifier: str, now: datetime
) -> Authorization | None:
    if not ca.config.reuse_authorizations:
        return None
    for found in ca.state.authorizations.values():
        same = (found.account, _identifier(found)) == (account.id, identifier)
        if same and ca.state.authorization_status(found, now) == "valid":
            return found
    return None


def _identifier(authorization: Authorization) -> str:
    return "*." * authorization.wildcard + authorization.name


def _new(ca: Authority, account: Account, identifier: str) -> Authorization:
    state = ca.state
    wildcard = identifier.startswith("*.")
    made = Authorization(
        len(state.authorizations) + 1,
        account.id,
        identifier.removeprefix("*."),
        wildcard,
        ca.now() + LIFETIME,
    )
    state.authorizations[made.id] = made
    for type_ in types_for(wildcard):
        number = len(state.challenges) + 1
        token = b64url(secrets.token_bytes(32))
        state.challenges[number] = Challenge(number, made.id, type_, token)
        made.challenges.append(number)
    return made


def _authorization_object(ca: Authority, authorization: Authorization) -> dict[str, Any]:
    offered = [ca.state.challenges[i] for i in authorization.challenges]
    members: dict[str, Any] = {
        "identifier": {"type": "dns", "value": authorization.name},
        "status": ca.state.authorization_status(authorization, ca.now()),
        "expires": time_text(authorization.expires),
        "challenges": [_challenge_object(ca, challenge) for challenge in offered],
    }
    if authorization.wildcard:
        members["wildcard"] = True
    return members


def _challenge_object(ca: Authority, challenge: Challenge) -> dict[str, Any]:
    members: dict[str, Any] = {
        "type": challenge.type,
        "url": ca.url("challenge", challenge.id),
        "status": challenge.status,
        "token": challenge.token,
    }
    if challenge.validated is not None:
        members["validated"] = time_text(challenge.validated)
    if challenge.error is not None:
        members["error"] = challenge.error
    return members

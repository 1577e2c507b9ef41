# SPDX-License-Identifier: Apache-2.0
"""From an HTTP request to a resource: routes, the JWS rules, nonces and problem documents."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable

from tests.support.ca import accounts, authorizations, certificates, orders
from tests.support.ca.authority import (
    DIRECTORY_PATH,
    RENEWAL_INFO_PATH,
    STATIC_PATHS,
    TERMS_PATH,
    Authority,
)
from tests.support.ca.control import Fault
from tests.support.ca.jose import ALGORITHMS, json_object, parse_jwk, parse_jws
from tests.support.ca.messages import Reply, Request, Signed, json_reply, problem_reply
from tests.support.ca.problem import Problem, malformed
from tests.support.ca.state import Account

HANDLERS: dict[str, Callable[[Authority, Signed, int], Reply]] = {
    "newAccount": accounts.new_account,
    "account": accounts.account,
    "orders": accounts.orders,
    "keyChange": accounts.key_change,
    "newOrder": orders.new_order,
    "order": orders.order,
    "finalize": orders.finalize,
    "authz": authorizations.authorization,
    "challenge": authorizations.challenge,
    "certificate": certificates.certificate,
    "revokeCert": certificates.revoke,
}
NUMBERED = re.compile(
    r"/(account|order|authz|challenge|certificate)/([1-9][0-9]{0,8})(?:/(orders|finalize))?"
)
SUFFIXES = {(kind, None): kind for kind in ("account", "order", "authz", "challenge")} | {
    ("certificate", None): "certificate",
    ("account", "orders"): "orders",
    ("order", "finalize"): "finalize",
}
BODY_TYPE = "application/jose+json"


def route(path: str) -> tuple[str, int]:
    """The resource that a path names, and the number in it (0 if there is none).

    Raises:
        Problem: ``malformed``, 404.
    """
    if path == DIRECTORY_PATH:
        return "directory", 0
    for resource, static in STATIC_PATHS.items():
        if path == static:
            return resource, 0
    if path.startswith(RENEWAL_INFO_PATH + "/"):
        return "renewalInfo", 0
    match = NUMBERED.fullmatch(path)
    if match and (match[1], match[3]) in SUFFIXES:
        return SUFFIXES[match[1], match[3]], int(match[2])
    raise malformed(f"there is nothing at {path!r}", status=404)


def answer(ca: Authority, request: Request) -> Reply:
    """Process one request; every failure becomes a problem document."""
    try:
        reply = _answer(ca, request)
    except Problem as e:
        reply = problem_reply(e)
    except Exception:  # the server's last stop: a defect here must show as 500, with a trace
        traceback.print_exc(file=sys.stderr)
        reply = problem_reply(Problem("serverInternal", "the test CA has a defect"))
    return finish(ca, request, reply)


def spoil(ca: Authority, request: Request, fault: Fault) -> Reply:
    """Answer with a fault in place of the real reply."""
    reply = problem_reply(Problem(fault.type, fault.detail, status=fault.status))
    if fault.body is not None:
        reply.body, reply.content_type = fault.body.encode(), fault.content_type
    reply.headers |= fault.headers
    return finish(ca, request, reply)


def finish(ca: Authority, request: Request, reply: Reply) -> Reply:
    """Add what every reply has (RFC 8555 sections 6.5 and 7.1)."""
    if request.method == "POST":
        reply.headers.setdefault("Replay-Nonce", ca.state.new_nonce())
    if request.path != DIRECTORY_PATH:
        index = f'<{ca.base_url}{DIRECTORY_PATH}>;rel="index"'
        reply.headers["Link"] = ", ".join(filter(None, [reply.headers.get("Link"), index]))
    reply.headers.setdefault("Cache-Control", "no-store")
    return reply


def _answer(ca: Authority, request: Request) -> Reply:
    if request.path == TERMS_PATH:
        return Reply(200, b"Certificates of this CA are for tests.\n", "text/plain")
    resource, number = route(request.path)
    if resource == "directory":
        if request.method != "GET":
            raise malformed("GET is expected", status=405)
        return json_reply(ca.directory())
    if resource == "renewalInfo":
        if request.method != "GET":
            raise malformed("GET is expected", status=405)
        return certificates.renewal_info(ca, request.path.rpartition("/")[2])
    if resource == "newNonce":
        if request.method not in ("GET", "HEAD"):
            raise malformed("HEAD or GET is expected", status=405)
        status = 200 if request.method == "HEAD" else 204
        return Reply(status, headers={"Replay-Nonce": ca.state.new_nonce()})
    if request.method != "POST":
        raise malformed("POST is expected", status=405)
    signed = authenticate(ca, request, resource)
    reply = HANDLERS[resource](ca, signed, number)
    if signed.account is not None:
        reply.account = signed.account.uri
    return reply


def authenticate(ca: Authority, request: Request, resource: str) -> Signed:
    """Apply RFC 8555 sections 6.2 to 6.5 to a POST.

    Resources that need an account refuse ``jwk`` themselves (Signed.require_account).

    Raises:
        Problem: One of the rules is broken. The nonce is used up only by a good signature.
    """
    if request.content_type != BODY_TYPE:
        raise malformed(f"content type {BODY_TYPE} is expected", status=415)
    jws = parse_jws(json_object(request.body, "body"))
    header = jws.header
    if header.get("alg") not in ALGORITHMS:
        detail = f"alg {header.get('alg')!r} is not supported"
        raise Problem("badSignatureAlgorithm", detail, members={"algorithms": ALGORITHMS})
    if ("jwk" in header) == ("kid" in header):
        raise malformed("the protected header needs either jwk or kid")
    account: Account | None = None
    if "kid" in header:
        if resource == "newAccount":
            raise malformed("newAccount needs jwk")
        with ca.state.lock:
            account = ca.state.account_by_uri(header["kid"])
        if account is None:
            raise Problem("accountDoesNotExist", f"there is no account {header['kid']!r}")
        jwk = account.jwk
    else:
        jwk = parse_jwk(header["jwk"])
    jwk.verify(header["alg"], jws.signed, jws.signature)
    url = ca.base_url + request.path
    if header.get("url") != url:
        raise Problem("unauthorized", f"url {url} is expected, got {header.get('url')!r}")
    if not ca.state.use_nonce(header.get("nonce")):
        raise Problem("badNonce", "the nonce is not known or was used before")
    if account is not None and account.status != "valid":
        raise Problem("unauthorized", f"account {account.uri} is {account.status}")
    return Signed(url, jws.payload, jwk, account)

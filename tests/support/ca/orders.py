# SPDX-License-Identifier: Apache-2.0
"""Orders and their finalization: RFC 8555 section 7.4."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

from tests.support.ca.authority import Authority
from tests.support.ca.authorizations import authorize
from tests.support.ca.csr import check_csr
from tests.support.ca.jose import b64url_decode
from tests.support.ca.messages import Reply, Signed, json_reply, owned, time_text
from tests.support.ca.problem import Problem, malformed
from tests.support.ca.state import Certificate, Order
from tests.support.ca.validation import types_for

ORDER_LIFETIME = timedelta(days=7)
MAX_NAMES = 100
LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
NAME = re.compile(rf"(\*\.)?({LABEL}\.)+(?![0-9]+\Z){LABEL}")


def new_order(ca: Authority, signed: Signed, _: int) -> Reply:
    """Take an order (section 7.4); valid authorizations are used again if the settings say so."""
    account = signed.require_account()
    payload = signed.object()
    if {"notBefore", "notAfter"} & set(payload):
        raise malformed("notBefore and notAfter are not supported")
    names = _names(payload.get("identifiers"))
    with ca.state.lock:
        authorizations = [authorize(ca, account, name) for name in names]
        number = len(ca.state.orders) + 1
        ids = [authorization.id for authorization in authorizations]
        made = Order(number, account.id, names, ids, ca.now() + ORDER_LIFETIME)
        ca.state.orders[number] = made
        ca.control.events["orders_created"] += 1
        return json_reply(_order_object(ca, made), 201, Location=ca.url("order", number))


def order(ca: Authority, signed: Signed, number: int) -> Reply:
    """Read an order."""
    signed.require_get()
    with ca.state.lock:
        found = owned(ca.state.orders, number, signed)
        return _order_reply(ca, found)


def finalize(ca: Authority, signed: Signed, number: int) -> Reply:
    """Check the CSR, then CAA once more, then issue (section 7.4).

    A refusal leaves the order ready, as Boulder does.
    """
    account = signed.require_account()
    with ca.state.lock:
        found = owned(ca.state.orders, number, signed)
        status = ca.state.order_status(found, ca.now())
        if status != "ready":
            raise Problem("orderNotReady", f"the order is {status}")
        der = b64url_decode(signed.object().get("csr"), "csr")
        key = check_csr(der, found.names, account.jwk.key)
        found.busy = True
        proven = [ca.state.authorizations[i] for i in found.authorizations]
    try:
        for one in proven:  # outside the lock: it asks the resolver
            ca.require_caa(one.name, one.wildcard, account, str(one.method), "finalize")
        now = ca.now()
        lifetime = timedelta(days=ca.config.lifetime_days)
        leaf, chain = ca.issuer.issue(key, found.names, now, lifetime)
        with ca.state.lock:
            made = Certificate(len(ca.state.certificates) + 1, account.id, found.names, leaf, chain)
            ca.state.certificates[made.id] = made
            found.certificate = made.id
            ca.control.events["certificates_issued"] += 1
    finally:
        found.busy = False
    with ca.state.lock:
        return _order_reply(ca, found)


def _names(identifiers: object) -> list[str]:
    if not isinstance(identifiers, list) or not 0 < len(identifiers) <= MAX_NAMES:
        raise malformed(f"1 to {MAX_NAMES} identifiers are expected")
    names: dict[str, None] = {}
    for identifier in identifiers:
        if not isinstance(identifier, dict) or not isinstance(identifier.get("value"), str):
            raise malformed("an identifier has a type and a value")
        if identifier.get("type") != "dns":
            raise Problem("unsupportedIdentifier", f"type dns is expected, got {identifier}")
        name = identifier["value"].lower()
        if not NAME.fullmatch(name) or len(name) > 253:
            raise Problem("rejectedIdentifier", f"a domain name is expected, got {name!r}")
        if not types_for(name.startswith("*.")):
            raise Problem("rejectedIdentifier", f"no challenge type can prove {name}")
        names[name] = None
    return list(names)


def _order_reply(ca: Authority, order: Order) -> Reply:
    reply = json_reply(_order_object(ca, order), Location=ca.url("order", order.id))
    if ca.state.order_status(order, ca.now()) in ("pending", "processing"):
        reply.headers["Retry-After"] = str(ca.config.retry_after)
    return reply


def _order_object(ca: Authority, order: Order) -> dict[str, Any]:
    members: dict[str, Any] = {
        "status": ca.state.order_status(order, ca.now()),
        "expires": time_text(order.expires),
        "identifiers": [{"type": "dns", "value": name} for name in order.names],
        "authorizations": [ca.url("authz", i) for i in order.authorizations],
        "finalize": ca.url("order", order.id, "/finalize"),
    }
    if order.certificate is not None:
        members["certificate"] = ca.url("certificate", order.certificate)
    return members

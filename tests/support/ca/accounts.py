# SPDX-License-Identifier: Apache-2.0
"""Accounts: RFC 8555 section 7.3."""

from __future__ import annotations

import re
from typing import Any

from tests.support.ca.authority import Authority
from tests.support.ca.jose import Jwk, json_object, parse_jwk, parse_jws, verify_mac
from tests.support.ca.messages import Reply, Signed, json_reply
from tests.support.ca.problem import Problem, malformed
from tests.support.ca.state import Account


def new_account(ca: Authority, signed: Signed, _: int) -> Reply:
    """Create an account, or find the one that has this key (sections 7.3, 7.3.1)."""
    payload = signed.object()
    with ca.state.lock:
        account = ca.state.account_by_key(signed.jwk.thumbprint)
        if account is not None:
            if account.status != "valid":
                raise Problem("unauthorized", f"account {account.uri} is {account.status}")
            return _reply(ca, account, 200)
        if payload.get("onlyReturnExisting") is True:
            raise Problem("accountDoesNotExist", "no account has this key")
        contact = _contact(payload.get("contact", []))
        if ca.config.terms_of_service and payload.get("termsOfServiceAgreed") is not True:
            raise Problem("userActionRequired", "the terms of service must be agreed to")
        binding = payload.get("externalAccountBinding")
        if binding is not None:
            _check_binding(ca, binding, signed)
        elif ca.config.external_account_required:
            raise Problem("externalAccountRequired", "externalAccountBinding is expected")
        number = len(ca.state.accounts) + 1
        account = Account(number, ca.url("account", number), signed.jwk, contact, binding)
        ca.state.accounts[number] = account
        ca.control.events["accounts_created"] += 1
        return _reply(ca, account, 201)


def account(ca: Authority, signed: Signed, number: int) -> Reply:
    """Read, update or deactivate one's own account (sections 7.3.2, 7.3.6)."""
    own = _own(signed, number)
    payload = signed.object() if signed.payload else {}
    with ca.state.lock:
        if payload.get("status") not in (None, "valid", "deactivated"):
            raise malformed(f"status deactivated is expected, got {payload['status']!r}")
        if "contact" in payload:
            own.contact = _contact(payload["contact"])
        own.status = payload.get("status") or own.status
        return json_reply(_object(ca, own))


def orders(ca: Authority, signed: Signed, number: int) -> Reply:
    """The orders of one's own account (section 7.1.2.1)."""
    own = _own(signed, number)
    signed.require_get()
    with ca.state.lock:
        urls = [ca.url("order", o.id) for o in ca.state.orders.values() if o.account == own.id]
    return json_reply({"orders": urls})


def key_change(ca: Authority, signed: Signed, _: int) -> Reply:
    """Account key rollover (section 7.3.5): the account URI stays, the key changes."""
    own = signed.require_account()
    inner = parse_jws(signed.object())
    if set(inner.header) != {"alg", "jwk", "url"}:
        raise malformed("the inner JWS has exactly alg, jwk and url")
    new = parse_jwk(inner.header["jwk"])
    new.verify(inner.header["alg"], inner.signed, inner.signature)
    if inner.header["url"] != signed.url:
        raise malformed("the inner and the outer url differ")
    payload = json_object(inner.payload, "keyChange")
    if payload.get("account") != own.uri:
        raise malformed("keyChange names another account")
    with ca.state.lock:
        if parse_jwk(payload.get("oldKey")).thumbprint != own.jwk.thumbprint:
            raise malformed("oldKey is not the account's key")
        holder = ca.state.account_by_key(new.thumbprint)
        if holder is not None:
            detail = "an account has the new key already"
            raise Problem("malformed", detail, status=409, headers={"Location": holder.uri})
        own.jwk = new
        ca.control.events["keys_changed"] += 1
        return json_reply(_object(ca, own))


def _own(signed: Signed, number: int) -> Account:
    account = signed.require_account()
    if account.id != number:
        raise Problem("unauthorized", "this is another account")
    return account


def _reply(ca: Authority, account: Account, status: int) -> Reply:
    location = account.uri
    if ca.config.account_location_origin is not None:
        location = ca.config.account_location_origin + location.removeprefix(ca.base_url)
    reply = json_reply(_object(ca, account), status, Location=location)
    reply.account = account.uri
    return reply


def _object(ca: Authority, account: Account) -> dict[str, Any]:
    members = {
        "status": account.status,
        "contact": account.contact,
        "termsOfServiceAgreed": True,
        "orders": ca.url("account", account.id, "/orders"),
    }
    if account.binding is not None:
        members["externalAccountBinding"] = account.binding
    return members


def _contact(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(uri, str) for uri in value):
        raise malformed("contact is an array of URIs")
    for uri in value:
        if not uri.lower().startswith("mailto:"):
            raise Problem("unsupportedContact", f"a mailto URI is expected, got {uri!r}")
        # RFC 8555 section 7.3: no hfields, one address
        if not re.fullmatch(r"[^@?,\s]+@[^@?,\s]+\.[^@?,\s]+", uri[len("mailto:") :]):
            raise Problem("invalidContact", f"one mail address is expected, got {uri!r}")
    return value


def _check_binding(ca: Authority, value: object, signed: Signed) -> None:
    """Check an external account binding (section 7.3.4)."""
    if not isinstance(value, dict):
        raise malformed("externalAccountBinding is a JWS object")
    binding = parse_jws(value)
    if set(binding.header) != {"alg", "kid", "url"}:
        raise malformed("externalAccountBinding has exactly alg, kid and url")
    key = ca.config.eab_key(str(binding.header["kid"]))
    if key is None:
        raise Problem("unauthorized", "the external account is not known")
    verify_mac(binding, key)
    if binding.header["url"] != signed.url:
        raise malformed("externalAccountBinding has another url")
    bound: Jwk = parse_jwk(json_object(binding.payload, "externalAccountBinding"))
    if bound.thumbprint != signed.jwk.thumbprint:
        raise malformed("externalAccountBinding binds another key")

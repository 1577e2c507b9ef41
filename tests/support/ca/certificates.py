# SPDX-License-Identifier: Apache-2.0
"""Certificates: download and revocation (RFC 8555 sections 7.4.2 and 7.6)."""

from __future__ import annotations

from datetime import timedelta

from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.ca.authority import Authority
from tests.support.ca.csr import spki
from tests.support.ca.jose import b64url_decode
from tests.support.ca.messages import Reply, Signed, json_reply, owned, time_text
from tests.support.ca.problem import Problem, malformed
from tests.support.ca.state import Certificate

PEM_CHAIN = "application/pem-certificate-chain"
REASONS = {0, 1, 3, 4, 5}  # what BR section 7.2.2 allows a subscriber to give


def certificate(ca: Authority, signed: Signed, number: int) -> Reply:
    """Download a certificate with its chain."""
    signed.require_get()
    with ca.state.lock:
        found = owned(ca.state.certificates, number, signed)
        return Reply(200, found.chain, PEM_CHAIN)


def renewal_info(ca: Authority, name: str) -> Reply:
    """Suggest when to renew (RFC 9773 section 4.2): one day, a set time after issuance.

    Args:
        ca: The CA.
        name: base64url of the authority key identifier, a dot, base64url of the serial number.
    """
    _, dot, serial = name.partition(".")
    number = int.from_bytes(b64url_decode(serial, "serial number"), "big")
    with ca.state.lock:
        made = [made.leaf for made in ca.state.certificates.values()]
    found = next((leaf for leaf in made if dot and leaf.serial_number == number), None)
    if found is None or ca.config.renew_after_days is None:
        raise malformed("there is no such certificate", status=404)
    start = found.not_valid_before_utc + timedelta(days=ca.config.renew_after_days)
    window = {"start": time_text(start), "end": time_text(start + timedelta(days=1))}
    reply = json_reply({"suggestedWindow": window})
    reply.headers["Retry-After"] = str(ca.config.retry_after)
    return reply


def revoke(ca: Authority, signed: Signed, _: int) -> Reply:
    """Revoke by the certificate's key, the issuing account, or one that holds all the names."""
    payload = signed.object()
    der = b64url_decode(payload.get("certificate"), "certificate")
    reason = payload.get("reason", 0)
    if type(reason) is not int or reason not in REASONS:
        raise Problem("badRevocationReason", f"one of {sorted(REASONS)} is expected")
    with ca.state.lock:
        found = _find(ca, der)
        if not _may_revoke(ca, signed, found):
            raise Problem("unauthorized", "neither the certificate's key nor its account")
        if found.revoked is not None:
            raise Problem("alreadyRevoked", "the certificate is revoked already")
        found.revoked = reason
        ca.control.events["certificates_revoked"] += 1
    return Reply(200)


def _find(ca: Authority, der: bytes) -> Certificate:
    for found in ca.state.certificates.values():
        if found.leaf.public_bytes(Encoding.DER) == der:
            return found
    raise malformed("this CA did not issue the certificate", status=404)


def _may_revoke(ca: Authority, signed: Signed, found: Certificate) -> bool:
    if signed.account is None:
        return spki(found.leaf.public_key()) == spki(signed.jwk.key)
    if signed.account.id == found.account:
        return True
    now = ca.now()
    held = {
        "*." * authorization.wildcard + authorization.name
        for authorization in ca.state.authorizations.values()
        if authorization.account == signed.account.id
        and ca.state.authorization_status(authorization, now) == "valid"
    }
    return set(found.names) <= held

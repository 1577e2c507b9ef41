# SPDX-License-Identifier: Apache-2.0
"""docs/guard.md, sentence by sentence: what the account key signs, and what it refuses."""

import base64
import ipaddress
import json

import pytest
from cryptography import x509

from certbot_enclave import errors
from certbot_enclave.account import guard
from certbot_enclave.account.guard import Capability
from tests.unit.account.signing import (
    ACCOUNT,
    JWK,
    KEY,
    ORIGIN,
    RecordingGate,
    b64,
    binding,
    csr,
    header,
    signing_input,
)

ORDER = {"identifiers": [{"type": "dns", "value": "example.test"}]}
NEW_ACCOUNT = {"termsOfServiceAgreed": True}
BY_KEY = header(kid=None, jwk=JWK, url=f"{ORIGIN}/new-account")
TO_ACCOUNT = header(url=ACCOUNT)
CERTIFICATE = {"certificate": "MAA"}

SIGNED = {
    "POST-as-GET": (None, header()),
    "challenge": ({}, header(url=f"{ORIGIN}/chall/1")),
    "newAccount": (NEW_ACCOUNT, BY_KEY),
    "newAccount with contact": ({**NEW_ACCOUNT, "contact": ["mailto:a@example.test"]}, BY_KEY),
    "newAccount with eab": ({**NEW_ACCOUNT, "externalAccountBinding": {"payload": ""}}, BY_KEY),
    "newOrder": (ORDER, header()),
    "newOrder with profile": ({**ORDER, "profile": "shortlived"}, header()),
    "finalize": ({"csr": csr()}, header()),
    "finalize with common name": ({"csr": csr(common="example.test")}, header()),
    "revokeCert": (CERTIFICATE, header()),
    "revokeCert with reason": ({**CERTIFICATE, "reason": 4}, header()),
    "authorization deactivation": ({"status": "deactivated"}, header(url=f"{ORIGIN}/authz/1")),
}


@pytest.mark.parametrize(("payload", "head"), SIGNED.values(), ids=SIGNED)
def test_signs(payload, head):
    assert guard.check(signing_input(payload, head), binding()) is None


def _identifiers(*items) -> dict:
    return {"identifiers": list(items)}


REFUSED = {
    # Protected header: exactly alg, nonce, url, kid.
    "no alg": (None, header(alg=None), "jws-header"),
    "no nonce": (None, header(nonce=None), "jws-header"),
    "no url": (None, header(url=None), "jws-header"),
    "no kid": (None, header(kid=None), "jws-header"),
    "crit": (None, header(crit=["b64"]), "jws-header"),
    "b64": (None, header(b64=False), "jws-header"),
    "kid and jwk": (NEW_ACCOUNT, header(jwk=JWK), "jws-header"),
    "alg none": (None, header(alg="none"), "jws-alg"),
    "alg HS256": (None, header(alg="HS256"), "jws-alg"),
    "nonce with dot": (None, header(nonce="a.b"), "jws-nonce"),
    "nonce empty": (None, header(nonce=""), "jws-nonce"),
    "nonce number": (None, header(nonce=7), "jws-nonce"),
    "url number": (None, header(url=7), "jws-url"),
    "url http": (None, header(url="http://ca.test:14000/order"), "jws-url"),
    "url with fragment": (None, header(url=f"{ORIGIN}/order#x"), "jws-url"),
    "url with backslash": (None, header(url=f"{ORIGIN}/..\\x"), "jws-url"),
    "url with user": (None, header(url="https://a@ca.test:14000/order"), "jws-url"),
    "url elsewhere": (None, header(url="https://other.test/order"), "jws-origin"),
    "url of longer host": (None, header(url=f"{ORIGIN}0/order"), "jws-origin"),
    "url of other port": (None, header(url="https://ca.test/order"), "jws-origin"),
    "kid of another account": (None, header(kid=f"{ORIGIN}/acct/8"), "jws-kid"),
    "kid with slash": (None, header(kid=f"{ACCOUNT}/"), "jws-kid"),
    "jwk of another key": (NEW_ACCOUNT, {**BY_KEY, "jwk": {**JWK, "x": JWK["y"]}}, "jws-jwk"),
    "jwk with more": (NEW_ACCOUNT, {**BY_KEY, "jwk": {**JWK, "use": "sig"}}, "jws-jwk"),
    # jwk only in newAccount.
    "jwk on POST-as-GET": (None, BY_KEY, "jws-jwk-use"),
    "jwk on newOrder": (ORDER, BY_KEY, "payload-new-account"),
    "jwk on revokeCert": (CERTIFICATE, BY_KEY, "payload-new-account"),
    "jwk on challenge": ({}, BY_KEY, "payload-new-account"),
    "newAccount without terms": ({"contact": []}, BY_KEY, "payload-new-account"),
    "newAccount with terms false": ({"termsOfServiceAgreed": False}, BY_KEY, "payload-new-account"),
    "newAccount with more": ({**NEW_ACCOUNT, "orders": ""}, BY_KEY, "payload-new-account"),
    "newAccount by kid": (NEW_ACCOUNT, header(), "payload-unknown"),
    # Only through a capability.
    "onlyReturnExisting": ({"onlyReturnExisting": True}, BY_KEY, "capability-missing"),
    "newAuthz": ({"identifier": ORDER["identifiers"][0]}, header(), "payload-unknown"),
    "account update": ({"contact": []}, TO_ACCOUNT, "payload-unknown"),
    "empty account update": ({}, TO_ACCOUNT, "account-update"),
    "account deactivation": ({"status": "deactivated"}, TO_ACCOUNT, "account-deactivation"),
    "status revoked": ({"status": "revoked"}, header(), "payload-unknown"),
    "keyChange": ({"protected": "", "payload": "", "signature": ""}, header(), "payload-unknown"),
    "unrecognised": ({"onwards": 1}, header(), "payload-unknown"),
    # newOrder.
    "order with notAfter": ({**ORDER, "notAfter": "x"}, header(), "payload-new-order"),
    "order with replaces": ({**ORDER, "replaces": "x"}, header(), "payload-new-order"),
    "order for nothing": (_identifiers(), header(), "payload-identifiers"),
    "order for 101": (_identifiers(*ORDER["identifiers"] * 101), header(), "payload-identifiers"),
    "order for no list": ({"identifiers": {}}, header(), "payload-identifiers"),
    "order for text": (_identifiers("example.test"), header(), "payload-identifiers"),
    "order for a number": (
        _identifiers({"type": "dns", "value": 1}),
        header(),
        "payload-identifiers",
    ),
    "order for ip": (
        _identifiers({"type": "ip", "value": "192.0.2.1"}),
        header(),
        "payload-identifiers",
    ),
    "order with ancestor": (
        _identifiers({**ORDER["identifiers"][0], "ancestorDomain": "test"}),
        header(),
        "payload-identifiers",
    ),
    "order profile list": ({**ORDER, "profile": []}, header(), "payload-profile"),
    "order for others": (_identifiers({"type": "dns", "value": "b.test"}), header(), "gate-names"),
    # finalize.
    "csr no base64": ({"csr": "*"}, header(), "payload-csr"),
    "csr number": ({"csr": 7}, header(), "payload-csr"),
    "csr cut": ({"csr": csr()[:40]}, header(), "payload-csr"),
    "csr for others": ({"csr": csr(["b.test"])}, header(), "gate-names"),
    "csr for more": ({"csr": csr(["example.test", "b.test"])}, header(), "gate-names"),
    "csr with ip": (
        {"csr": csr(extra=[x509.IPAddress(ipaddress.ip_address("192.0.2.1"))])},
        header(),
        "csr-names",
    ),
    "csr subject elsewhere": ({"csr": csr(common="b.test")}, header(), "csr-subject"),
    "csr for the account key": ({"csr": csr(key=KEY)}, header(), "csr-account-key"),
    "csr and more": ({"csr": csr(), "more": 1}, header(), "payload-unknown"),
    # revokeCert.
    "revoke and more": ({**CERTIFICATE, "more": 1}, header(), "payload-revoke"),
    "revoke reason text": ({**CERTIFICATE, "reason": "4"}, header(), "payload-revoke"),
    "revoke number": ({"certificate": 4}, header(), "payload-revoke"),
}


@pytest.mark.parametrize(("payload", "head", "code"), REFUSED.values(), ids=REFUSED)
def test_refuses(payload, head, code):
    with pytest.raises(errors.Error) as caught:
        guard.check(signing_input(payload, head), binding())
    assert caught.value.code == code


def test_csr_with_broken_signature_is_refused():
    der = bytearray(base64.urlsafe_b64decode(csr() + "=="))
    der[-1] ^= 1
    with pytest.raises(errors.GuardError) as caught:
        guard.check(signing_input({"csr": b64(bytes(der))}), binding())
    assert caught.value.code == "csr-signature"


DUPLICATES = {
    "payload": ('{"csr": "", "csr": ""}', None),
    "payload by case": ('{"status": "deactivated", "Status": ""}', None),
    "nested": ('{"identifiers": [{"type": "dns", "value": "a.test", "Value": "b.test"}]}', None),
    "header": (None, json.dumps(header())[:-1] + ', "Url": "https://other.test/"}'),
    "payload is a list": ("[]", None),
    "payload has a fraction": ('{"reason": 1.5}', None),
    "payload is no JSON": ("{", None),
    "payload is not UTF-8": ("\udcff", None),
    "payload is deep": ("[" * 20000, None),
}


@pytest.mark.parametrize(("payload", "head"), DUPLICATES.values(), ids=DUPLICATES)
def test_json_is_strict(payload, head):
    protected = head or json.dumps(header())
    body = "" if payload is None else b64(payload.encode("utf-8", "surrogateescape"))
    with pytest.raises(errors.GuardError) as caught:
        guard.check(f"{b64(protected.encode())}.{body}".encode(), binding())
    assert caught.value.code == "jws-malformed"


RAW = {
    "empty": b"",
    "no dot": b"e30",
    "padding": b"e30=.",
    "not canonical": b"e31.",
    "standard alphabet": b"e30.+/+/",
    "not ASCII": b"e30.\xff",
    "second dot": b"e30.e30.e30",
    "too long": signing_input({"csr": "A" * 48 * 1024}),
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_signing_input_is_strict(raw):
    with pytest.raises(errors.GuardError) as caught:
        guard.check(raw, binding())
    assert caught.value.code == "jws-malformed"


def test_capability_opens_onlyreturnexisting_alone():
    capable = binding(capability=Capability("only-return-existing"), account_uri=None)
    guard.check(signing_input({"onlyReturnExisting": True}, BY_KEY), capable)
    for payload in ({"onlyReturnExisting": False}, {"onlyReturnExisting": True, "contact": []}):
        with pytest.raises(errors.GuardError) as caught:
            guard.check(signing_input(payload, BY_KEY), capable)
        assert caught.value.code == "payload-new-account"


def test_there_is_no_other_capability():
    with pytest.raises(ValueError, match="keyChange"):
        Capability("keyChange")


@pytest.mark.parametrize("payload", [ORDER, {"csr": csr()}], ids=["newOrder", "finalize"])
def test_no_order_without_a_gate(payload):
    with pytest.raises(errors.GuardError) as caught:
        guard.check(signing_input(payload), binding(gate=None))
    assert caught.value.code == "gate-missing"


def test_finalize_checks_caa_again_and_order_does_not():
    gate = RecordingGate()
    guard.check(signing_input(ORDER), binding(gate=gate))
    guard.check(signing_input({"csr": csr()}), binding(gate=gate))
    names = frozenset({"example.test"})
    steps = ["require", "require_reserved", "check_again"]
    assert gate.asked == [(step, names) for step in steps]


def test_no_order_that_is_not_written_down():
    class Spent(RecordingGate):
        def require_reserved(self, names):
            raise errors.ThriftError("once too often", code="budget-orders")

    with pytest.raises(errors.ThriftError):
        guard.check(signing_input(ORDER), binding(gate=Spent()))


def test_nothing_by_kid_before_the_ca_named_the_account():
    with pytest.raises(errors.GuardError) as caught:
        guard.check(signing_input(None), binding(account_uri=None))
    assert caught.value.code == "jws-kid"

# SPDX-License-Identifier: Apache-2.0
"""A PCR that the statement says is bound to its account holds that account's value, or nothing."""

import hashlib

import pytest

from certbot_enclave import errors, verification
from certbot_enclave.policy import Policy
from tests.support import forge
from tests.support.forge import ACCOUNT, BANK, CHAIN, IMAGE_ID, NOW, PCRS, POLICY, STATEMENT

ASKED = {"domain": "example.com", "nonce": None, "now": NOW, "trust_root": CHAIN.root}
ZERO = bytes(48)
FORMATS = {
    "aws-nitro": (forge.evidence, POLICY),
    "oyster-signed": (forge.oyster_evidence, Policy(sets={}, images={"image": IMAGE_ID})),
}


@pytest.fixture(params=list(FORMATS.values()), ids=list(FORMATS))
def kind(request):
    return request.param


def _bound(uri=STATEMENT.account_uri, key=None, tag=b"certbot-enclave-account-v1:"):
    binding = hashlib.sha384(tag + uri.encode() + b"\0" + (key or forge.spki(ACCOUNT))).digest()
    return hashlib.sha384(ZERO + binding).digest()


def _verify(kind, said, pcrs, policy=None):
    evidence, usual = kind
    made = evidence(fields={"pcrs": {**BANK, **pcrs}}, settings=said)
    return verification.verify(made, policy or usual, **ASKED)


def _refused(kind, said, pcrs, policy=None):
    with pytest.raises((errors.VerificationError, errors.FormatError)) as caught:
        _verify(kind, said, pcrs, policy)
    return caught.value


@pytest.mark.parametrize("index", [16, 17, 31])
def test_bound_pcr_needs_no_name_in_the_policy(index):
    found = _verify(FORMATS["aws-nitro"], {"bind_pcr": str(index)}, {index: _bound()})
    assert found.document.pcrs[index] == _bound()


def test_bound_pcr_of_oyster_needs_none_either():
    assert _verify(FORMATS["oyster-signed"], {"bind_pcr": "17"}, {17: _bound()})


WRONG = {
    "of another account": _bound(STATEMENT.account_uri + "0"),
    "of another key": _bound(key=forge.oyster_key()),
    "without a tag": _bound(tag=b""),
    "of a statement": _bound(tag=b"certbot-enclave-statement-v1:"),
    "zero": ZERO,
    "extended twice": hashlib.sha384(_bound() + _bound()).digest(),
}


@pytest.mark.parametrize("value", WRONG.values(), ids=WRONG)
def test_pcr_with_another_value_is_refused(kind, value):
    refused = _refused(kind, {"bind_pcr": "17"}, {17: value})
    assert refused.code == "account-pcr"
    assert str(refused) == f"PCR 17 is {value.hex()}, bound to the account {_bound().hex()}"
    assert (refused.expected, refused.actual) == (_bound().hex(), value.hex())


def test_pcr_that_is_not_locked_is_refused(kind):
    refused = _refused(kind, {"bind_pcr": "17"}, {})
    assert (refused.code, refused.actual) == ("account-pcr", "none")


def test_value_in_another_pcr_is_refused(kind):
    assert _refused(kind, {"bind_pcr": "17"}, {18: _bound()}).code == "pcr-extra"
    assert _refused(kind, {"bind_pcr": "17"}, {17: _bound(), 18: ZERO}).code == "pcr-extra"


NO_PCRS = {
    "measured before": "15",
    "measured first": "0",
    "beyond the last": "32",
    "with a zero before it": "017",
    "with a blank": " 17",
    "with a sign": "+17",
    "in another script": "١٧",
    "a name": "PCR17",
    "a list": ("17",),
    "true": True,
}


@pytest.mark.parametrize("value", NO_PCRS.values(), ids=NO_PCRS)
def test_setting_that_names_no_such_pcr_is_refused(kind, value):
    refused = _refused(kind, {"bind_pcr": value}, {})
    assert (refused.code, refused.actual) == ("account-pcr", "none")
    # And it excuses no PCR: not the one that it nearly names either.
    assert _refused(kind, {"bind_pcr": value}, {17: _bound()}).code == "pcr-extra"


def test_pcr15_that_holds_the_value_is_not_bound(kind):
    assert _refused(kind, {"bind_pcr": "15"}, {15: _bound()}).code == "account-pcr"


NOTHING = {"not said": {}, "empty": {"bind_pcr": ""}, "false": {"bind_pcr": False}}


@pytest.mark.parametrize("said", NOTHING.values(), ids=NOTHING)
def test_pcr_that_nobody_claims_is_refused_though_it_holds_the_value(kind, said):
    assert _refused(kind, said, {17: _bound()}).code == "pcr-extra"
    assert _verify(kind, said, {})


def test_policy_that_names_the_bound_pcr_is_obeyed_too():
    nitro = FORMATS["aws-nitro"]
    named = Policy(sets={"image": {**PCRS, 17: _bound()}})
    assert _verify(nitro, {"bind_pcr": "17"}, {17: _bound()}, named)
    other = Policy(sets={"image": {**PCRS, 17: ZERO}})
    assert _refused(nitro, {"bind_pcr": "17"}, {17: _bound()}, other).code == "pcr-mismatch"
    # Who names it in the policy need not be told about it in the statement.
    assert _verify(nitro, {}, {17: _bound()}, named)


def test_policy_cannot_accept_a_wrong_one_by_name(kind):
    policy = kind[1]._replace(settings={"bind_pcr": "17"})
    assert _refused(kind, {"bind_pcr": "17"}, {17: ZERO}, policy).code == "account-pcr"

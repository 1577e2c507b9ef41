# SPDX-License-Identifier: Apache-2.0
"""Each numbered check of verification refuses something that every other check lets through."""

import base64
import hashlib
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from certbot_enclave import errors, statement, verification
from certbot_enclave.attestation import chain, simulated
from certbot_enclave.policy import DAY, Policy
from tests.support import forge
from tests.support.forge import BANK, CHAIN, NOW, PCRS, POLICY, STATEMENT

NONCE = bytes(range(16))
ZERO = bytes(48)
OTHER = ec.derive_private_key(7, ec.SECP256R1())
ASKED = {"domain": "example.com", "nonce": None, "now": NOW, "trust_root": CHAIN.root}


def _verify(evidence, policy=POLICY, **asked):
    return verification.verify(evidence, policy, **{**ASKED, **asked})


def _code(evidence, policy=POLICY, **asked):
    with pytest.raises(errors.Error) as caught:
        _verify(evidence, policy, **asked)
    assert isinstance(caught.value, errors.FormatError | errors.VerificationError)
    return caught.value.code


def test_evidence_that_passes_every_check():
    lines = []
    found = _verify(forge.evidence(), progress=lines.append)
    assert found.statement == STATEMENT
    assert found.document.module_id == forge.MODULE
    assert found.domain == STATEMENT.domains[0]
    assert (found.matched, found.simulated) == ("image", True)
    assert found.not_checked == verification.NOT_CHECKED
    assert [line.split()[0] for line in lines] == [
        "document",
        "document",
        "measurements",
        "statement",
        "account",
        "statement",
    ]
    assert "under the named root" in lines[0]


def _spoiled(**members):
    return json.dumps({**json.loads(forge.evidence()), **members}).encode()


def _signed_by(key):
    text = statement.build(STATEMENT)
    payload = forge.payload(user_data=statement.user_data(text))
    return statement.build_evidence(text, simulated.sign(payload, key))


def _at(**delta):
    return {"timestamp": int((NOW + timedelta(**delta)).timestamp() * 1000)}


def _thumbprint(key):
    return statement.thumbprint(forge.jwk(key))


# A point with this x and y is on no curve.
ONES = base64.urlsafe_b64encode(b"\1" * 32).rstrip(b"=").decode()
OFF_CURVE = {"crv": "P-256", "kty": "EC", "x": ONES, "y": ONES}

# Check -> (evidence, code): everything else about each holds.
ONLY = {
    "1 evidence": (_spoiled(type="certbot-enclave/evidence/v2"), "evidence-format"),
    "1 statement": (
        forge.evidence(text=statement.build(STATEMENT).replace("/v1", "/v2", 1)),
        "statement-format",
    ),
    "1 document": (
        statement.build_evidence(statement.build(STATEMENT), b"\xd2" + forge.document()),
        "cose-tagged",
    ),
    "2 another root": (forge.evidence(forge.chain()), "chain-root"),
    "2 certificates over": (forge.evidence(fields=_at(hours=-2)), "chain-not-yet-valid"),
    "3 another key": (_signed_by(forge.chain().keys[-1]), "cose-signature"),
    "4 a field": (forge.evidence(fields={"digest": "SHA256"}), "document-digest"),
    "4 NitroTPM": (forge.evidence(fields={"nitrotpm_pcrs": PCRS}), "document-nitrotpm"),
    "4 another instance": (
        forge.evidence(fields={"pcrs": {**BANK, 4: ZERO}}),
        "document-instance",
    ),
    "4 another enclave": (
        forge.evidence(fields={"module_id": f"{forge.INSTANCE}-enc9"}),
        "document-leaf",
    ),
    "5 future": (forge.evidence(fields=_at(seconds=61), issued_at=NOW), "future"),
    "7 nonce that nobody asked for": (forge.evidence(fields={"nonce": NONCE}), "nonce-mismatch"),
    "8 PCR0 zero": (forge.evidence(fields={"pcrs": {**BANK, 0: ZERO}}), "debug"),
    "8 PCR1 zero": (forge.evidence(fields={"pcrs": {**BANK, 1: ZERO}}), "debug"),
    "8 PCR2 zero": (forge.evidence(fields={"pcrs": {**BANK, 2: ZERO}}), "debug"),
    "9 PCR0": (forge.evidence(fields={"pcrs": {**BANK, 0: PCRS[1]}}), "pcr-mismatch"),
    "9 PCR1": (forge.evidence(fields={"pcrs": {**BANK, 1: PCRS[0]}}), "pcr-mismatch"),
    "9 PCR2": (forge.evidence(fields={"pcrs": {**BANK, 2: PCRS[1]}}), "pcr-mismatch"),
    "9 PCR16": (forge.evidence(fields={"pcrs": {**BANK, 16: PCRS[0]}}), "pcr-extra"),
    "9 PCR31, though zero": (forge.evidence(fields={"pcrs": {**BANK, 31: ZERO}}), "pcr-extra"),
    "10 another statement": (
        forge.evidence(fields={"user_data": statement.user_data("{}")}),
        "statement-unbound",
    ),
    "10 no statement": (forge.evidence(fields={"user_data": None}), "statement-unbound"),
    "11 another key": (
        forge.evidence(fields={"public_key": forge.spki(OTHER)}),
        "account-key-unbound",
    ),
    "11 no key": (forge.evidence(fields={"public_key": None}), "account-key-unbound"),
    "11 off the curve": (forge.evidence(account_key=OFF_CURVE), "account-key"),
    "11 thumbprint": (forge.evidence(thumbprint=_thumbprint(OTHER)), "thumbprint"),
    "12 said too early": (
        forge.evidence(issued_at=NOW - timedelta(minutes=5, seconds=1)),
        "issued-at",
    ),
    "12 said too late": (
        forge.evidence(issued_at=NOW + timedelta(minutes=5, seconds=1)),
        "issued-at",
    ),
    "14 condition": (forge.evidence(conditions=("zone-unsigned",)), "condition"),
    "16 setting": (forge.evidence(settings={"allow_unsigned_zone": True}), "setting"),
    "17 another domain": (
        forge.evidence(domains=(STATEMENT.domains[0]._replace(name="example.org"),)),
        "domain",
    ),
    "17 no domain": (forge.evidence(domains=()), "domain"),
}


@pytest.mark.parametrize(("evidence", "code"), ONLY.values(), ids=ONLY)
def test_only_this_check_refuses(evidence, code):
    assert _code(evidence) == code


# --- 5, 6, 7: freshness ---


@pytest.mark.parametrize("seconds", [0, 59, 60])
def test_skew_of_a_minute_is_allowed(seconds):
    assert _verify(forge.evidence(), now=NOW - timedelta(seconds=seconds))


@pytest.mark.parametrize("delta", [timedelta(seconds=61), timedelta(seconds=60, microseconds=1)])
def test_future_begins_after_a_minute(delta):
    assert _code(forge.evidence(), now=NOW - delta) == "future"


def test_age_of_a_day_unless_the_policy_says_otherwise():
    day, second = timedelta(days=1), timedelta(seconds=1)
    assert timedelta(seconds=DAY) == day
    assert _verify(forge.evidence(), now=NOW + day)
    assert _code(forge.evidence(), now=NOW + day + second) == "stale"
    policy = POLICY._replace(max_age=60)
    assert _verify(forge.evidence(), policy, now=NOW + timedelta(seconds=60))
    assert _code(forge.evidence(), policy, now=NOW + timedelta(seconds=61)) == "stale"
    assert _verify(forge.evidence(), POLICY._replace(max_age=90 * DAY), now=NOW + 89 * day)


def test_milliseconds_are_not_taken_for_seconds():
    # A peer added an age in seconds to a time in milliseconds, and nothing was ever too old.
    assert _code(forge.evidence(), now=NOW + timedelta(days=365)) == "stale"


ASKED_FOR = forge.evidence(fields={"nonce": NONCE})


def test_five_minutes_with_a_nonce_whatever_the_policy_says():
    policy = POLICY._replace(max_age=366 * DAY)
    assert _verify(ASKED_FOR, policy, nonce=NONCE, now=NOW + timedelta(minutes=5))
    late = NOW + timedelta(minutes=5, seconds=1)
    assert _code(ASKED_FOR, policy, nonce=NONCE, now=late) == "stale"
    strict = POLICY._replace(max_age=10)
    assert _code(ASKED_FOR, strict, nonce=NONCE, now=NOW + timedelta(seconds=11)) == "stale"


NONCES = {
    "another": (NONCE[::-1], NONCE),
    "prefix": (NONCE + b"\0", NONCE),
    "not in the document": (NONCE, None),
    "empty in the document": (NONCE, b""),
    "not asked for": (None, NONCE),
}


@pytest.mark.parametrize(("asked", "there"), NONCES.values(), ids=NONCES)
def test_nonce_must_be_the_one_that_was_asked_for(asked, there):
    assert _code(forge.evidence(fields={"nonce": there}), nonce=asked) == "nonce-mismatch"


def test_nonces_that_match():
    assert _verify(ASKED_FOR, nonce=NONCE).document.nonce == NONCE
    assert _verify(forge.evidence(fields={"nonce": b""})).document.nonce == b""
    assert _verify(forge.evidence(fields={"nonce": ...})).document.nonce is None


def test_time_without_zone_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError):
        _verify(forge.evidence(), now=NOW.replace(tzinfo=None))


# --- 9: measurements ---


def test_error_names_what_was_expected_and_what_came():
    with pytest.raises(errors.MeasurementError) as caught:
        _verify(forge.evidence(fields={"pcrs": {**BANK, 0: PCRS[1]}}))
    assert caught.value.expected == PCRS[0].hex()
    assert caught.value.actual == PCRS[1].hex()
    assert f"PCR0 is {PCRS[1].hex()}" in str(caught.value)


def _sets(*tables):
    return POLICY._replace(sets={f"set{index}": table for index, table in enumerate(tables)})


STRANGE = dict.fromkeys((0, 1, 2), PCRS[0])
WITH_16 = {**PCRS, 16: PCRS[0]}
TAGGED = forge.evidence(fields={"pcrs": {**BANK, 16: PCRS[0]}})


def test_any_one_set_may_match():
    assert _verify(forge.evidence(), _sets(STRANGE, PCRS)).matched == "set1"
    assert _code(forge.evidence(), _sets(STRANGE, STRANGE)) == "pcr-mismatch"


def test_set_may_constrain_more():
    for index in (3, 4, 8, 16):
        assert _code(forge.evidence(), _sets({**PCRS, index: PCRS[0]})) == "pcr-mismatch"
    assert _verify(TAGGED, _sets(WITH_16)).matched == "set0"
    assert _code(TAGGED, _sets({**PCRS, 16: PCRS[1]})) == "pcr-mismatch"


def test_pcr_beyond_the_documents_is_compared_all_the_same():
    # A peer walked the document's PCRs, so one that the document lacks was never compared.
    assert _code(forge.evidence(), _sets({**PCRS, 16: ZERO})) == "pcr-mismatch"


@pytest.mark.parametrize("sets", [(PCRS, WITH_16), (WITH_16, PCRS)])
def test_set_that_names_the_further_pcr_matches_wherever_it_stands(sets):
    assert _verify(TAGGED, _sets(*sets)).document.pcrs[16] == PCRS[0]
    assert _verify(forge.evidence(), _sets(*sets))


def test_further_pcr_is_refused_when_only_other_sets_name_it():
    assert _code(TAGGED, _sets(PCRS, {**STRANGE, 16: PCRS[0]})) == "pcr-extra"


def test_of_several_sets_that_match_but_for_a_further_pcr_the_first_is_named():
    with pytest.raises(errors.MeasurementError, match=r"PCR16 is .* and measurement set set1 does"):
        _verify(TAGGED, _sets(STRANGE, PCRS, PCRS))


INCOMPLETE = {
    "no set": {},
    "empty set": {"x": {}},
    "PCR1 only": {"x": {1: PCRS[1]}},
    "one incomplete": {"image": PCRS, "x": {0: PCRS[0], 2: PCRS[2]}},
}


@pytest.mark.parametrize("sets", INCOMPLETE.values(), ids=INCOMPLETE)
def test_policy_that_pins_nothing_is_a_mistake_of_the_caller(sets):
    with pytest.raises(ValueError, match="PCR0, PCR1 and PCR2"):
        _verify(forge.evidence(), Policy(sets=sets))


# --- 12: issued_at ---


@pytest.mark.parametrize("minutes", [-5, 0, 5])
def test_statement_within_five_minutes_of_the_document(minutes):
    assert _verify(forge.evidence(issued_at=NOW + timedelta(minutes=minutes)))


# --- the root ---


def test_simulated_root_is_never_accepted_unless_named():
    for evidence in (forge.evidence(), forge.evidence(conditions=("simulated",))):
        policy = POLICY._replace(conditions=frozenset({"simulated"}), staging=True)
        assert _code(evidence, policy, trust_root=None) == "chain-root"


def test_named_root_must_be_that_very_one():
    assert _code(forge.evidence(), trust_root=forge.chain().root) == "chain-root"


def _as_aws(monkeypatch):
    """Take the forged root for that of AWS: nothing else can make genuine documents."""
    monkeypatch.setattr(chain, "AWS_ROOT_SHA256", hashlib.sha256(CHAIN.root).hexdigest())


@pytest.mark.parametrize("root", [None, CHAIN.root], ids=["built in", "named"])
def test_root_of_aws_is_no_simulation_even_if_it_is_named(monkeypatch, root):
    _as_aws(monkeypatch)
    lines = []
    found = _verify(forge.evidence(), trust_root=root, progress=lines.append)
    assert found.simulated is False
    assert "under the AWS Nitro root" in lines[0]
    assert _code(forge.evidence(conditions=("simulated",)), trust_root=root) == "condition"
    assert _code(forge.evidence(sealing_scheme="simulated"), trust_root=root) == "sealing"
    with pytest.raises(errors.StatementError, match="accepted: oysterkms:image"):
        _verify(forge.evidence(sealing_scheme="simulated"), trust_root=root)
    named = POLICY._replace(sealing=frozenset({"simulated"}))
    assert _code(forge.evidence(sealing_scheme="simulated"), named, trust_root=root) == "sealing"
    mock = {"sealing_scheme": "oysterkms", "sealing_key": "mock"}
    named = POLICY._replace(sealing=frozenset({"oysterkms:mock"}))
    assert _code(forge.evidence(**mock), named, trust_root=root) == "sealing"

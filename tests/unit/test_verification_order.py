# SPDX-License-Identifier: Apache-2.0
"""The checks are done in the order of the table in verification's docstring."""

import itertools
import re
from datetime import timedelta

import pytest

from certbot_enclave import errors, statement, verification
from certbot_enclave.attestation import simulated
from certbot_enclave.policy import Policy
from tests.support import forge
from tests.support.forge import BANK, CHAIN, IMAGE_ID, NOW, PCRS, POLICY, STATEMENT

NONCE = bytes(range(16))
ZERO = bytes(48)
OFF_CURVE = {**STATEMENT.account_key, "y": STATEMENT.account_key["x"]}
IMAGE = Policy(sets={}, images={"image": IMAGE_ID})
ASKED = {"domain": "example.com", "nonce": None, "now": NOW, "trust_root": CHAIN.root}


def _code(evidence, policy, **asked):
    with pytest.raises((errors.FormatError, errors.VerificationError)) as caught:
        verification.verify(evidence, policy, **{**ASKED, **asked})
    return caught.value.code


def _later(table, **delta):
    table["timestamp"] = int((NOW + timedelta(**delta)).timestamp() * 1000)


def _faulty(*names, oyster=False):
    """Evidence with the faults of these checks, and what is asked of it."""
    said, fields, policy = {"settings": {}}, {"pcrs": dict(BANK)}, IMAGE if oyster else POLICY
    asked, key, nonce = {}, CHAIN.keys[-1], b""
    for name in names:
        match name:
            case "chain-not-yet-valid":
                asked["now"] = NOW - timedelta(hours=2)
                _later(fields, hours=-2)
                said["issued_at"] = asked["now"]
            case "cose-signature":
                key = forge.chain().keys[-1]
            case "document-instance":
                fields["pcrs"][4] = ZERO
            case "future":
                asked["now"] = asked.get("now", NOW) - timedelta(seconds=61)
            case "stale" if "future" in names:
                pass  # it cannot be both
            case "stale":
                policy = policy._replace(max_age=10)
                asked["now"] = asked.get("now", NOW) + timedelta(seconds=11)
            case "nonce-mismatch":
                fields["nonce"] = NONCE
            case "debug":
                fields["pcrs"][0] = ZERO
            case "pcr-mismatch":
                fields["pcrs"][1] = PCRS[0]
            case "statement-unbound":
                fields["user_data"] = None
            case "oyster-signature":
                nonce = NONCE
            case "account-key":
                said["account_key"] = OFF_CURVE
            case "account-key-unbound":
                fields["public_key"] = None
            case "thumbprint":
                said["thumbprint"] = "A" * 43
            case "account-pcr":
                said["settings"]["bind_pcr"] = "17"
            case "issued-at":
                said["issued_at"] = NOW + timedelta(days=1)
            case "directory-unknown":
                said["directory"] = "https://ca.example/directory"
            case "condition":
                said["conditions"] = ("alias-zone:cdn.example",)
            case "sealing":
                policy = policy._replace(sealing=frozenset({"awskms"}))
            case "setting":
                said["settings"]["allow_disk"] = True
            case "domain":
                said["domains"] = ()
    text = statement.build(STATEMENT._replace(**said))
    user_data = statement.user_data(text)
    bound = {"user_data": user_data, **fields}
    if oyster:
        bound["public_key"] = forge.oyster_key()
    document = simulated.sign(forge.payload(**bound), key)
    signature = forge.oyster_signature(user_data, nonce) if oyster else None
    return statement.build_evidence(text, document, signature), policy, asked


# Code -> number of the check.
ORDER = {
    "chain-not-yet-valid": 2,
    "cose-signature": 3,
    "document-instance": 4,
    "future": 5,
    "stale": 6,
    "nonce-mismatch": 7,
    "debug": 8,
    "pcr-mismatch": 9,
    "statement-unbound": 10,
    "account-key": 11,
    "account-key-unbound": 11,
    "thumbprint": 11,
    "account-pcr": 11,
    "issued-at": 12,
    "directory-unknown": 13,
    "condition": 14,
    "sealing": 15,
    "setting": 16,
    "domain": 17,
}
_INSTEAD = {"nonce-mismatch": None, "statement-unbound": "oyster-signature"}
_INSTEAD |= {"account-key-unbound": None}
OF_OYSTER = {
    code: number for name, number in ORDER.items() if (code := _INSTEAD.get(name, name)) is not None
}
FORMATS = {False: list(ORDER), True: list(OF_OYSTER)}
ALONE = [(oyster, name) for oyster, names in FORMATS.items() for name in names]
PAIRS = [(oyster, *pair) for oyster, names in FORMATS.items() for pair in itertools.pairwise(names)]
TAILS = [(oyster, names[at:]) for oyster, names in FORMATS.items() for at in range(len(names))]


def _told(oyster, *names):
    evidence, policy, asked = _faulty(*names, oyster=oyster)
    return _code(evidence, policy, **asked)


@pytest.mark.parametrize(("oyster", "name"), ALONE)
def test_fault_alone(oyster, name):
    assert _told(oyster, name) == name


@pytest.mark.parametrize(("oyster", "first", "second"), PAIRS)
def test_of_two_faults_the_first_is_told(oyster, first, second):
    assert _told(oyster, first, second) == first


@pytest.mark.parametrize(("oyster", "names"), TAILS, ids=lambda value: str(value)[:40])
def test_of_all_faults_from_here_on_the_first_is_told(oyster, names):
    assert _told(oyster, *names) == names[0]


def test_form_comes_before_everything():
    broken = forge.evidence(forge.chain(), text="{}")
    assert _code(broken, POLICY, trust_root=None) == "statement-format"


def test_table_in_the_docstring_names_these_checks():
    table, _, of_oyster = verification.__doc__.partition("``oyster-signed``")
    parts = re.split(r"^([0-9]+)  ", table, flags=re.MULTILINE)
    rows = {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}
    assert list(rows) == list(range(1, 18))
    for code, number in ORDER.items():
        family = code.split("-")[0] + "-…"
        assert code in rows[number] or family in rows[number], code
    parts = re.split(r"^([0-9]+)  ", of_oyster, flags=re.MULTILINE)
    other = {int(number): text for number, text in zip(parts[1::2], parts[2::2], strict=True)}
    assert list(other) == [7, 9, 10, 11]
    assert "oyster-signature" in other[10]
    for code in ("account-key,", "thumbprint", "account-pcr"):
        assert code in other[11]

# SPDX-License-Identifier: Apache-2.0
"""A policy pins measurements, or it is none; every member of it is known and in its bounds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.policy import DAY, MAX_POLICY, PUBLIC_AUTHORITIES, Authority, parse

A, B, C = ("a1" * 48, "b2" * 48, "c3" * 48)
ZERO = "0" * 96
SET = {"PCR0": A, "PCR1": B, "PCR2": C}
PCRS = {index: bytes.fromhex(value) for index, value in enumerate(SET.values())}
MEASURED = f'[measurements.image]\nPCR0 = "{A}"\nPCR1 = "{B}"\nPCR2 = "{C}"\n'


def _parse(text):
    return parse(text.encode() if isinstance(text, str) else text, "my.toml")


def _nitro_cli(**table):
    return json.dumps({"Measurements": {"HashAlgorithm": "Sha384 { ... }", **table}})


def test_what_nitro_cli_prints_is_a_policy_as_it_is():
    found = _parse(_nitro_cli(**SET))
    assert found.sets == {"my.toml": PCRS}
    assert (found.max_age, found.staging, found.authorities) == (DAY, False, ())
    assert (found.conditions, found.sealing, found.settings) == (frozenset(), frozenset(), {})


def test_what_describe_eif_prints_too():
    text = json.dumps({"EifVersion": 4, "Measurements": SET, "IsSigned": False, "Metadata": {}})
    assert _parse("\n  " + text).sets == {"my.toml": PCRS}


FULL = f"""
max_age = 3600
staging = true

[measurements.old]
PCR0 = "{A}"
PCR1 = "{A}"
PCR2 = "{A}"
PCR16 = "{ZERO}"

{MEASURED}
[accept]
conditions = ["zone-unsigned", "alias-zone:cdn.example"]
sealing = ["awskms:arn"]

[accept.settings]
allow_disk = true
deploy = "files:/run/tls"
hooks = ["b", "a"]

[directories."https://ca.example/directory"]
account_prefix = "https://ca.example/acct/"
issuers = ["ca.example"]
"""


def test_everything_that_toml_can_say():
    found = _parse(FULL)
    first = dict.fromkeys((0, 1, 2), bytes.fromhex(A))
    assert list(found.sets.items()) == [("old", {**first, 16: bytes(48)}), ("image", PCRS)]
    assert (found.max_age, found.staging) == (3600, True)
    assert found.conditions == {"zone-unsigned", "alias-zone:cdn.example"}
    assert found.sealing == {"awskms:arn"}
    assert found.settings == {
        "allow_disk": True,
        "deploy": "files:/run/tls",
        "hooks": ("b", "a"),
    }
    assert found.authorities == (
        Authority(
            "https://ca.example/directory", "https://ca.example/acct/", frozenset({"ca.example"})
        ),
    )


def test_policy_cannot_be_changed():
    found = _parse(FULL)
    for table in (found.sets, found.sets["image"], found.settings):
        with pytest.raises(TypeError):
            table["a"] = 1


@pytest.mark.parametrize("seconds", [1, 366 * DAY])
def test_bounds_of_the_age(seconds):
    assert _parse(f"max_age = {seconds}\n{MEASURED}").max_age == seconds


MISSING, INVALID = "measurements-missing", "policy-invalid"
INCOMPLETE, DEBUG = "measurements-incomplete", "measurements-debug"
DIRECTORY = '\n[directories."https://ca.example/directory"]\n'
REFUSED = {
    "nothing": ("", MISSING),
    "blanks": (" \n", MISSING),
    "TOML without measurements": ("staging = true", MISSING),
    "TOML with an empty table": ("[measurements]", MISSING),
    "TOML with an empty set": (f"{MEASURED}[measurements.x]", MISSING),
    "TOML with a set that is a text": ('[measurements]\nx = "a"', MISSING),
    "TOML with PCRs but no name": (f'[measurements]\nPCR0 = "{A}"\nPCR1 = "{A}"', MISSING),
    "TOML with a list of something": ("measurements = [1]", MISSING),
    "TOML with a list": ("measurements = []", MISSING),
    "TOML with PCR1 only": (f'[measurements.x]\nPCR1 = "{B}"', INCOMPLETE),
    "TOML with one set incomplete": (f'{MEASURED}[measurements.x]\nPCR0 = "{A}"', INCOMPLETE),
    "TOML with zeros": (MEASURED.replace(A, ZERO), DEBUG),
    "TOML with a PCR that is none": (f'{MEASURED}PCR99 = "{A}"', "measurements-invalid"),
    "TOML with a PCR twice": (f'{MEASURED}PCR0 = "{A}"', "policy-format"),
    "TOML with a set twice": (MEASURED * 2, "policy-format"),
    "JSON without measurements": ("{}", MISSING),
    "JSON with null": ('{"Measurements": null}', MISSING),
    "JSON with a list": ('{"Measurements": []}', MISSING),
    "JSON with an empty table": (_nitro_cli(), MISSING),
    "JSON with other letters": (json.dumps({"measurements": SET}), MISSING),
    "JSON without the outer table": (json.dumps(SET), MISSING),
    "JSON with PCR1 only": (_nitro_cli(PCR1=B), INCOMPLETE),
    "JSON with zeros": (_nitro_cli(**{**SET, "PCR2": ZERO}), DEBUG),
    "JSON with another member": (_nitro_cli(**SET, Version="1"), "measurements-invalid"),
    "JSON with a PCR twice": (
        _nitro_cli(**SET).replace('"PCR0"', f'"PCR0": "{C}", "PCR0"'),
        "policy-format",
    ),
    "JSON with two tables": (
        '{"Measurements": {}, ' + _nitro_cli(**SET)[1:],
        "policy-format",
    ),
    "JSON cut": (_nitro_cli(**SET)[:-3], "policy-format"),
    "JSON with something behind": (_nitro_cli(**SET) + "x", "policy-format"),
    "JSON deep": ('{"a":' * 50_000, "policy-format"),
    "JSON list": ("[1]", "policy-invalid"),
    "no TOML": ("a = ", "policy-format"),
    "no UTF-8": (b"\xff", "policy-format"),
    "byte order mark": ("\ufeff" + _nitro_cli(**SET), "policy-format"),
    "too long": (MEASURED + "#" * MAX_POLICY, "policy-format"),
    "unknown member": (f"maxage = 1\n{MEASURED}", INVALID),
    "unknown table": (f"{MEASURED}[conditions]", INVALID),
    "unknown acceptance": (f"{MEASURED}[accept]\ncondition = []", INVALID),
    "accept a list": (f"accept = []\n{MEASURED}", INVALID),
    "age zero": (f"max_age = 0\n{MEASURED}", INVALID),
    "age negative": (f"max_age = -1\n{MEASURED}", INVALID),
    "age of more than a year": (f"max_age = {366 * DAY + 1}\n{MEASURED}", INVALID),
    "age true": (f"max_age = true\n{MEASURED}", INVALID),
    "age a fraction": (f"max_age = 1.5\n{MEASURED}", INVALID),
    "age a text": (f'max_age = "24h"\n{MEASURED}', INVALID),
    "staging a number": (f"staging = 1\n{MEASURED}", INVALID),
    "staging a text": (f'staging = "false"\n{MEASURED}', INVALID),
    "conditions a text": (f'{MEASURED}[accept]\nconditions = "simulated"', INVALID),
    "conditions with a number": (f"{MEASURED}[accept]\nconditions = [1]", INVALID),
    "sealing a text": (f'{MEASURED}[accept]\nsealing = "awskms"', INVALID),
    "settings a list": (f"{MEASURED}[accept]\nsettings = []", INVALID),
    "setting a number": (f"{MEASURED}[accept.settings]\na = 1", INVALID),
    "setting a table": (f"{MEASURED}[accept.settings.a]", INVALID),
    "setting with a list of numbers": (f"{MEASURED}[accept.settings]\na = [1]", INVALID),
    "directories a list": (f"directories = []\n{MEASURED}", INVALID),
    "directory a text": (f'{MEASURED}[directories]\n"https://ca.example/" = "a"', INVALID),
    "directory empty": (MEASURED + DIRECTORY, INVALID),
    "directory without issuers": (
        f'{MEASURED}{DIRECTORY}account_prefix = "https://ca.example/"',
        INVALID,
    ),
    "directory with more": (
        f'{MEASURED}{DIRECTORY}account_prefix = "https://ca.example/"\nissuers = []\nkey = 1',
        INVALID,
    ),
    "directory of another origin": (
        f'{MEASURED}{DIRECTORY}account_prefix = "https://ca.example.org/"\nissuers = []',
        INVALID,
    ),
    "directory of another port": (
        f'{MEASURED}{DIRECTORY}account_prefix = "https://ca.example:444/"\nissuers = []',
        INVALID,
    ),
    "prefix without a path": (
        f'{MEASURED}{DIRECTORY}account_prefix = "https://ca.example"\nissuers = []',
        INVALID,
    ),
    "prefix a number": (f"{MEASURED}{DIRECTORY}account_prefix = 1\nissuers = []", INVALID),
    "issuers a text": (
        f'{MEASURED}{DIRECTORY}account_prefix = "https://ca.example/"\nissuers = "a"',
        INVALID,
    ),
    "directory without TLS": (
        f'{MEASURED}[directories."http://ca.example/"]\n'
        'account_prefix = "http://ca.example/"\nissuers = []',
        INVALID,
    ),
}


@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED)
def test_no_policy(text, code):
    with pytest.raises(errors.PolicyError) as caught:
        _parse(text)
    assert caught.value.code == code
    assert "my.toml" in str(caught.value)


def test_greatest_policy():
    assert _parse(MEASURED + "#" * (MAX_POLICY - len(MEASURED))).sets == {"image": PCRS}


def test_built_in_authorities_are_consistent():
    directories = [item.directory for item in PUBLIC_AUTHORITIES]
    assert len(set(directories)) == len(directories)
    for item in PUBLIC_AUTHORITIES:
        assert item.account_prefix.split("/")[:3] == item.directory.split("/")[:3]
        assert item.account_prefix.endswith("/")
        assert item.staging == ("staging" in item.directory)
        assert item.identities


@given(st.text(max_size=200) | st.text(max_size=50).map(lambda tail: MEASURED + tail))
def test_any_text_pins_measurements_or_is_a_policy_error(text):
    try:
        found = _parse(text.encode("utf-8", "surrogatepass"))
    except errors.PolicyError:
        return
    assert found.sets
    assert all({0, 1, 2} <= pcrs.keys() for pcrs in found.sets.values())

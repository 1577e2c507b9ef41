# SPDX-License-Identifier: Apache-2.0
"""A policy pins measurements, or it is none; every member of it is known and in its bounds."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.policy import (
    DAY,
    MAX_POLICY,
    PUBLIC_AUTHORITIES,
    Authority,
    load,
    of_image_id,
    parse,
)
from tests.support import eif

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


# --- names of sets ---


@pytest.mark.parametrize("name", ["a", "v1.2_x-1", "A" * 100, "0"])
def test_name_of_a_set(name):
    assert _parse(MEASURED.replace("image", f'"{name}"')).sets == {name: PCRS}


NO_NAMES = ["", "a b", "a\\nb", "a\\u001b[2J", "ü", "a/b", "A" * 101]


@pytest.mark.parametrize("name", NO_NAMES)
@pytest.mark.parametrize("kind", ["set", "image id"])
def test_name_that_would_not_stay_on_its_line(name, kind):
    lines = MEASURED.split("]")[1] if kind == "set" else f'image_id = "{"ab" * 32}"'
    with pytest.raises(errors.PolicyError) as caught:
        _parse(f'[measurements."{name}"]\n{lines}')
    assert caught.value.code == INVALID
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


# --- Oyster's image ids ---

ID = "ab" * 32
DEBUG_ID = "bafc51da6492a2c316260eeab60b4249036b7664ad4617f5117826dbaa1d452e"


def test_image_id_beside_sets():
    found = _parse(f'{MEASURED}[measurements.oyster]\nimage_id = "0x{ID.upper()}"\n')
    assert (found.sets, found.images) == ({"image": PCRS}, {"oyster": bytes.fromhex(ID)})


def test_image_ids_alone():
    text = f'[measurements.one]\nimage_id = "{ID}"\n[measurements.two]\nimage_id = "{"cd" * 32}"'
    found = _parse(text)
    assert (found.sets, list(found.images)) == ({}, ["one", "two"])
    with pytest.raises(TypeError):
        found.images["three"] = bytes(32)


NO_IMAGES = {
    "beside a PCR": (f'image_id = "{ID}"\nPCR16 = "{A}"', INVALID),
    "beside PCR0 to PCR2": (f'image_id = "{ID}"\n' + MEASURED.split("]")[1], INVALID),
    "beside something unknown": (f'image_id = "{ID}"\nname = "x"', INVALID),
    "in other letters": (f'IMAGE_ID = "{ID}"', MISSING),
    "short": (f'image_id = "{ID[1:]}"', "image-id-invalid"),
    "empty": ('image_id = ""', "image-id-invalid"),
    "a number": ("image_id = 1", "image-id-invalid"),
    "a list": (f'image_id = ["{ID}"]', "image-id-invalid"),
    "a table": ("image_id = {}", "image-id-invalid"),
    "of debug enclaves": (f'image_id = "{DEBUG_ID}"', DEBUG),
}


@pytest.mark.parametrize(("lines", "code"), NO_IMAGES.values(), ids=NO_IMAGES)
def test_no_image_id(lines, code):
    with pytest.raises(errors.PolicyError) as caught:
        _parse(f"{MEASURED}[measurements.oyster]\n{lines}")
    assert caught.value.code == code
    assert str(caught.value).startswith("my.toml")


def test_image_id_is_a_policy_as_it_is():
    found = of_image_id(f"0x{ID}", "--image-id")
    assert (found.sets, found.images) == ({}, {"--image-id": bytes.fromhex(ID)})
    assert (found.max_age, found.staging, found.authorities) == (DAY, False, ())
    assert (found.conditions, found.sealing, found.settings) == (frozenset(), frozenset(), {})


@pytest.mark.parametrize(
    ("text", "code"), [("x", "image-id-invalid"), ("", "image-id-invalid"), (DEBUG_ID, DEBUG)]
)
def test_text_that_is_no_image_id(text, code):
    with pytest.raises(errors.PolicyError) as caught:
        of_image_id(text, "--image-id")
    assert (caught.value.code, str(caught.value)[:11]) == (code, "--image-id:")


# --- files ---


def _load(data):
    return load(io.BufferedReader(io.BytesIO(data)), "my file")


def test_file_with_text_is_that_text():
    assert _load(MEASURED.encode()).sets == {"image": PCRS}
    assert _load(_nitro_cli(**SET).encode()).sets == {"my file": PCRS}


SIGNED = eif.pack(eif.signed(eif.signer()))
IMAGES = {"image": (eif.pack(), [0, 1, 2]), "signed image": (SIGNED, [0, 1, 2, 8])}


@pytest.mark.parametrize(("data", "indexes"), IMAGES.values(), ids=IMAGES)
def test_image_file_is_measured(data, indexes):
    found = _load(data)
    assert list(found.sets) == ["my file"]
    assert found.sets["my file"].items() >= eif.pcrs().items()
    assert sorted(found.sets["my file"]) == indexes
    assert (found.images, found.max_age, found.settings) == ({}, DAY, {})
    with pytest.raises(TypeError):
        found.sets["my file"][0] = bytes(48)


SIGNER = eif.signer()
SIGNED_BY_ANOTHER = (
    *eif.UNSIGNED,
    eif.Section(
        eif.SIGNATURE,
        eif.signature(SIGNER.pem, eif.message(eif.signer(), eif.payload(eif.pcrs()[0]))),
    ),
)
BROKEN_IMAGES = {
    "cut": (eif.pack()[:-1], "eif-truncated"),
    "a byte behind": (eif.pack(behind=b"x"), "eif-trailing"),
    "magic alone": (b".eif", "eif-truncated"),
    "one changed byte": (eif.pack()[:-1] + b"!", "eif-crc"),
    "signed by another": (eif.pack(SIGNED_BY_ANOTHER), "eif-signature"),
}


@pytest.mark.parametrize(("data", "code"), BROKEN_IMAGES.values(), ids=BROKEN_IMAGES)
def test_image_file_that_is_none(data, code):
    with pytest.raises(errors.PolicyError) as caught:
        _load(data)
    assert (caught.value.code, str(caught.value)[:14]) == (code, "my file: EIF: ")
    assert caught.value.hint


@pytest.mark.parametrize("data", [b"", b".", b".ei", b".EIF" + bytes(600), b"\0.eif"])
def test_file_that_begins_otherwise_is_text(data):
    with pytest.raises(errors.PolicyError) as caught:
        _load(data)
    assert caught.value.code in ("policy-format", MISSING)


def test_text_is_read_so_far_and_no_further():
    class Endless(io.RawIOBase):
        """Gives bytes for ever, and counts them."""

        given = 0

        def readable(self):
            return True

        def readinto(self, buffer):
            buffer[:] = b"#" * len(buffer)
            self.given += len(buffer)
            return len(buffer)

    endless = Endless()
    with pytest.raises(errors.PolicyError, match=f"at most {MAX_POLICY} bytes") as caught:
        load(io.BufferedReader(endless), "my file")
    assert caught.value.code == "policy-format"
    assert endless.given <= 2 * MAX_POLICY

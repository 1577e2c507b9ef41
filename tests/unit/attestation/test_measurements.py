# SPDX-License-Identifier: Apache-2.0
"""Measurements are computed as for an EIF, and a set is complete, real and readable or refused."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.attestation import cose, document, measurements

ZERO = "0" * 96
A, B, C = ("a1" * 48, "b2" * 48, "c3" * 48)
SET: dict[Any, str] = {"PCR0": A, "PCR1": B, "PCR2": C}


def _pcr(*parts):
    return hashlib.sha384(bytes(48) + hashlib.sha384(b"".join(parts)).digest()).digest()


@pytest.fixture
def files(tmp_path):
    contents = {"kernel": b"k" * 3_000_000, "cmdline": b"console=ttyS0", "one": b"1", "two": b"22"}
    for name, data in contents.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path, contents


def test_formula_of_an_eif(files):
    folder, data = files
    found = measurements.of_files(
        folder / "kernel", folder / "cmdline", [folder / "one", folder / "two"]
    )
    assert found == {
        0: _pcr(data["kernel"], data["cmdline"], data["one"], data["two"]),
        1: _pcr(data["kernel"], data["cmdline"], data["one"]),
        2: _pcr(data["two"]),
    }


def test_no_command_line_and_no_ramdisk(files):
    folder, data = files
    found = measurements.of_files(folder / "kernel", None, iter(()))
    assert found == {0: _pcr(data["kernel"]), 1: _pcr(data["kernel"]), 2: _pcr()}


def test_file_that_is_missing(tmp_path):
    with pytest.raises(OSError, match="gone"):
        measurements.of_files(tmp_path / "gone", None, [])


def test_printed_as_nitro_cli_does():
    text = measurements.to_json({2: bytes.fromhex(C), 0: bytes.fromhex(A), 1: bytes.fromhex(B)})
    assert json.loads(text) == {"Measurements": {"HashAlgorithm": "Sha384 { ... }", **SET}}


@given(
    st.dictionaries(st.integers(3, 31), st.binary(min_size=48, max_size=48)),
    st.lists(st.binary(min_size=48, max_size=48).filter(any), min_size=3, max_size=3),
)
def test_round_trip(more, first):
    pcrs = {**more, **dict(enumerate(first))}
    table = json.loads(measurements.to_json(pcrs))["Measurements"]
    assert measurements.read_table(table, "here") == pcrs


def test_upper_case_and_further_pcrs():
    found = measurements.read_table({**SET, "PCR0": A.upper(), "PCR8": ZERO, "PCR31": A}, "here")
    assert found[0].hex() == A
    assert sorted(found) == [0, 1, 2, 8, 31]
    assert found[8] == bytes(48)


def _less(name):
    return {key: value for key, value in SET.items() if key != name}


REFUSED = {
    "nothing": ({}, "measurements-missing"),
    "null": (None, "measurements-missing"),
    "list": ([A, B, C], "measurements-missing"),
    "text": ("PCR0", "measurements-missing"),
    "algorithm only": ({"HashAlgorithm": "Sha384 { ... }"}, "measurements-missing"),
    "PCR0 only": ({"PCR0": A}, "measurements-incomplete"),
    "PCR1 only": ({"PCR1": B}, "measurements-incomplete"),
    "PCR8 only": ({"PCR8": B}, "measurements-incomplete"),
    **{f"no {name}": (_less(name), "measurements-incomplete") for name in SET},
    **{f"{name} zero": ({**SET, name: ZERO}, "measurements-debug") for name in SET},
    "all zero": (dict.fromkeys(SET, ZERO), "measurements-debug"),
    "PCR32": ({**SET, "PCR32": A}, "measurements-invalid"),
    "PCR00": ({**SET, "PCR00": A}, "measurements-invalid"),
    "PCR03": ({**SET, "PCR03": A}, "measurements-invalid"),
    "PCR-1": ({**SET, "PCR-1": A}, "measurements-invalid"),
    "lower case": ({**SET, "pcr3": A}, "measurements-invalid"),
    "blank": ({**SET, "PCR3 ": A}, "measurements-invalid"),
    "digits of another script": ({**SET, "PCR٣": A}, "measurements-invalid"),
    "other member": ({**SET, "Version": "1"}, "measurements-invalid"),
    "number as name": ({**SET, 3: A}, "measurements-invalid"),
    "short": ({**SET, "PCR0": A[2:]}, "measurements-invalid"),
    "long": ({**SET, "PCR0": A + "00"}, "measurements-invalid"),
    "line behind": ({**SET, "PCR0": A + "\n"}, "measurements-invalid"),
    "0x": ({**SET, "PCR0": "0x" + A[2:]}, "measurements-invalid"),
    "no hex": ({**SET, "PCR0": "g" * 96}, "measurements-invalid"),
    "number": ({**SET, "PCR0": 1}, "measurements-invalid"),
    "null digest": ({**SET, "PCR0": None}, "measurements-invalid"),
    "bytes": ({**SET, "PCR0": bytes.fromhex(A)}, "measurements-invalid"),
}


@pytest.mark.parametrize(("table", "code"), REFUSED.values(), ids=REFUSED)
def test_set_that_is_no_set(table, code):
    with pytest.raises(errors.PolicyError) as caught:
        measurements.read_table(table, "my.json")
    assert caught.value.code == code
    assert str(caught.value).startswith("my.json")


# --- Oyster's image ids ---

# Made by Marlin's own code (oyster-monorepo: SDK and mock attestation server). In the mock's
# documents PCRn is the byte n, 48 times; those of older versions have no PCR16.
MOCK = {index: bytes([index]) * 48 for index in range(17)}
IMAGE_IDS = {
    "zero": (
        dict.fromkeys((0, 1, 2), bytes(48)),
        "bafc51da6492a2c316260eeab60b4249036b7664ad4617f5117826dbaa1d452e",
    ),
    "mock, no PCR16": (
        {index: MOCK[index] for index in range(16)},
        "b45dfd1807c1f4b81ef28b44682fba5d4d5522baac808a44b7302cbfda5144e7",
    ),
    "mock": (MOCK, "20a182763745f956ddee6f8e9d14a66e23db836c0eb1a769a2ef4d3ab77bef1b"),
}


@pytest.mark.parametrize(("pcrs", "expected"), IMAGE_IDS.values(), ids=IMAGE_IDS)
def test_image_id_is_that_of_oyster(pcrs, expected):
    assert measurements.image_id(pcrs).hex() == expected


def test_image_id_takes_a_pcr16_of_zeros_for_none():
    pcrs = {index: MOCK[index] for index in range(16)}
    assert measurements.image_id({**pcrs, 16: bytes(48)}) == measurements.image_id(pcrs)


@pytest.mark.parametrize("index", range(18))
def test_image_id_covers_pcr0_to_pcr2_and_pcr16_and_no_other(index):
    changed = measurements.image_id({**MOCK, index: b"x" * 48})
    assert (changed != measurements.image_id(MOCK)) == (index in (0, 1, 2, 16))


@pytest.mark.corpus
def test_image_id_of_a_document_that_marlins_mock_made(corpus):
    (path,) = (corpus / "nitro").glob("invalid-untrusted-root--marlinprotocol*")
    found = document.parse(cose.parse(path.read_bytes()).payload)
    assert measurements.image_id(found.pcrs).hex() == IMAGE_IDS["mock, no PCR16"][1]


ID = IMAGE_IDS["mock"][1]
SPELLED = {
    "as it is printed": ID,
    "upper case": ID.upper(),
    "0x": "0x" + ID,
    "0X": "0X" + ID.upper(),
    "blanks around": f" {ID}\n",
}


@pytest.mark.parametrize("text", SPELLED.values(), ids=SPELLED)
def test_image_id_is_read(text):
    assert measurements.read_image_id(text, "here") == bytes.fromhex(ID)


NO_IMAGE_IDS = {
    "nothing": ("", "image-id-invalid"),
    "0x": ("0x", "image-id-invalid"),
    "0x twice": ("0x0x" + ID, "image-id-invalid"),
    "a digit short": (ID[1:], "image-id-invalid"),
    "a digit long": (ID + "0", "image-id-invalid"),
    "a blank inside": (f"{ID[:32]} {ID[32:]}", "image-id-invalid"),
    "no hex": ("g" * 64, "image-id-invalid"),
    "digits of another script": ("\u0663" * 64, "image-id-invalid"),
    "a PCR": (A, "image-id-invalid"),
    "of debug enclaves": (IMAGE_IDS["zero"][1], "measurements-debug"),
    "of debug enclaves, in upper case": ("0x" + IMAGE_IDS["zero"][1].upper(), "measurements-debug"),
}


@pytest.mark.parametrize(("text", "code"), NO_IMAGE_IDS.values(), ids=NO_IMAGE_IDS)
def test_text_that_is_no_image_id(text, code):
    with pytest.raises(errors.PolicyError) as caught:
        measurements.read_image_id(text, "my.toml")
    assert caught.value.code == code
    assert str(caught.value).startswith("my.toml: ")


@given(st.text(max_size=70))
def test_any_text_is_an_image_id_or_a_policy_error(text):
    try:
        found = measurements.read_image_id(text, "here")
    except errors.PolicyError:
        return
    assert len(found) == 32

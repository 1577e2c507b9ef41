# SPDX-License-Identifier: Apache-2.0
"""Measurements are computed as for an EIF, and a set is complete, real and readable or refused."""

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certbot_enclave import errors
from certbot_enclave.attestation import measurements

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

# SPDX-License-Identifier: Apache-2.0
"""The reader of BER: one value, the shortest form or the indefinite one, and nothing else."""

import pytest

from certbot_enclave import errors
from certbot_enclave.aws import ber
from certbot_enclave.aws.ber import Node


@pytest.mark.parametrize(
    ("data", "node"),
    [
        ("0500", Node(5)),
        ("040361 62 63", Node(4, b"abc")),
        ("3000", Node(0x30)),
        ("30800000", Node(0x30)),
        ("3005 0500 800101", Node(0x30, parts=(Node(5), Node(0x80, b"\x01")))),
        ("3080 0500 800101 0000", Node(0x30, parts=(Node(5), Node(0x80, b"\x01")))),
        ("a080 a180 0500 0000 0000", Node(0xA0, parts=(Node(0xA1, parts=(Node(5),)),))),
        ("3004 3080 0000", Node(0x30, parts=(Node(0x30),))),
        ("048180" + "00" * 128, Node(4, bytes(128))),
        ("04820100" + "00" * 256, Node(4, bytes(256))),
    ],
)
def test_values(data, node):
    assert ber.loads(bytes.fromhex(data)) == node


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("", "1 bytes expected at offset 0"),
        ("04", "1 bytes expected at offset 1"),
        ("0402ff", "2 bytes expected at offset 2"),
        ("3080", "1 bytes expected"),
        ("30800500", "1 bytes expected"),
        ("308000", "tag 0x00"),
        ("0500 00", "bytes behind the end"),
        ("0500 0500", "bytes behind the end"),
        ("3080 0000 0000", "bytes behind the end"),
        ("04817f" + "00" * 127, "length is not in its shortest form"),
        ("048200ff" + "00" * 255, "length is not in its shortest form"),
        ("0483010000" + "00" * 65536, "length of more than two bytes"),
        ("04ff00", "length of more than two bytes"),
        ("0480 0500 0000", "indefinite length of a primitive value"),
        ("0000", "tag 0x00"),
        ("3002 0000", "tag 0x00"),
        ("2000", "tag 0x20"),
        ("1f1f00", "tag 0x1f"),
        ("bf1f00", "tag 0xbf"),
        ("3001 0500", "a value ends behind the one around it"),
        ("3003 0402 6162 00", "a value ends behind the one around it"),
        ("30" + "80" + "3080" * 13 + "0000" * 14, "more than 12 levels"),
    ],
)
def test_refused(data, words):
    with pytest.raises(errors.FormatError, match=words) as caught:
        ber.loads(bytes.fromhex(data))
    assert caught.value.code == "ber-malformed"


def test_twelve_levels_are_read():
    assert ber.loads(bytes.fromhex("3080" * 13 + "0000" * 13)).tag == 0x30

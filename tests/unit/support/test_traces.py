# SPDX-License-Identifier: Apache-2.0
"""The search for a key finds it in every form that it could have been written in."""

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.support import traces

SECRET = bytes(range(0xA1, 0xC1))
KEY = ec.derive_private_key(int.from_bytes(SECRET, "big"), ec.SECP256R1())


def _key(encoding, form):
    return KEY.private_bytes(encoding, form, NoEncryption())


PLANTED = {
    "PKCS#8 PEM": _key(Encoding.PEM, PrivateFormat.PKCS8),
    "SEC 1 PEM": _key(Encoding.PEM, PrivateFormat.TraditionalOpenSSL),
    "PKCS#8 DER": _key(Encoding.DER, PrivateFormat.PKCS8),
    "SEC 1 DER": _key(Encoding.DER, PrivateFormat.TraditionalOpenSSL),
    "JWK": json.dumps({"d": base64.urlsafe_b64encode(SECRET).rstrip(b"=").decode()}).encode(),
    "PEM in JSON": json.dumps(_key(Encoding.PEM, PrivateFormat.PKCS8).decode()).encode(),
    "decimal": str(int.from_bytes(SECRET, "big")).encode(),
    "hex": SECRET.hex().encode(),
    "HEX": SECRET.hex().upper().encode(),
    "hex with colons and lines": SECRET.hex(":", 1).replace("a8:", "a8:\n    ").encode(),
    "raw": b"\x00" + SECRET + b"\x00",
    **{
        f"base64 at {offset}": base64.encodebytes(b"x" * offset + SECRET + b"yyy")
        for offset in range(6)
    },
    **{
        f"base64url at {offset}": base64.urlsafe_b64encode(b"x" * offset + SECRET + b"yyy")
        for offset in range(6)
    },
}


@pytest.mark.parametrize("data", PLANTED.values(), ids=PLANTED)
def test_finds_the_key(tmp_path, data):
    assert traces.holds(b"before " + data + b" after", SECRET)
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(data)
    (tmp_path / "clean").write_bytes(b"nothing here")
    assert traces.search([tmp_path], SECRET) == [tmp_path / "deep" / "file"]


@pytest.mark.parametrize(
    "data",
    [
        KEY.public_key().public_numbers().x.to_bytes(32, "big"),
        KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")),
        SECRET[:-1],
        b"",
    ],
)
def test_does_not_cry_wolf(data):
    assert not traces.holds(data, SECRET)

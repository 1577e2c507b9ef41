# SPDX-License-Identifier: Apache-2.0
"""The derived account key is that of docs/oyster-account.md, to the byte, at every boot."""

import base64
import hashlib
import hmac
import json
import re
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.account import derived
from certbot_enclave.account import key as account_key
from certbot_enclave.interfaces import IDerivingSealer, ISealer
from certbot_enclave.sealing.oyster import OysterSealer
from tests.support.components import MemorySealer
from tests.support.world.derive import DeriveServer

PAGE = Path(__file__).parents[3] / "docs" / "oyster-account.md"
DIRECTORY = "https://ca.test:14000/dir"
# From the domain parameters of NIST SP 800-186 §3.2.1.3, in decimal.
ORDER = 115792089210356248762697446949407573529996955224135760342422259061068512044369


def _vectors():
    text = PAGE.read_text(encoding="utf-8").split("## Vectors")[1]
    for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL):
        joined = re.sub(r"\n {12}", "", block)
        yield dict(line.split(": ", 1) for line in re.sub(r": +", ": ", joined).splitlines())


VECTORS = list(_vectors())


@implementer(ISealer, IDerivingSealer)
class Deriving(MemorySealer):
    """Derives whatever it is told to."""

    def __init__(self, secret: bytes) -> None:
        super().__init__()
        self.secret = secret
        self.paths: list[str] = []

    def derive(self, path):
        self.paths.append(path)
        return self.secret


def _code(kind, act):
    with pytest.raises(kind) as caught:
        act()
    return caught.value.code


def _number(secret):
    return derived.private_key(DIRECTORY, Deriving(secret)).private_numbers().private_value


def test_page_has_vectors():
    assert len({vector["seed"] for vector in VECTORS}) == 2
    assert len({vector["thumbprint"] for vector in VECTORS}) == len(VECTORS) == 3


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["thumbprint"][:8])
def test_vector_recomputed_from_the_words_of_the_page(vector):
    path = b"certbot-enclave/account/v1/" + vector["directory"].encode()
    inner = hmac.new(bytes.fromhex(vector["seed"]), path, hashlib.sha512).digest()
    secret = hmac.new(inner, path, hashlib.sha512).digest()
    assert secret.hex() == vector["secret"]
    number = int(secret.hex()[:96], 16) % (ORDER - 1) + 1
    assert f"{number:064x}" == vector["d"]
    point = ec.derive_private_key(number, ec.SECP256R1()).public_key().public_numbers()
    assert (f"{point.x:064x}", f"{point.y:064x}") == (vector["x"], vector["y"])
    x, y = (
        base64.urlsafe_b64encode(bytes.fromhex(vector[name])).rstrip(b"=").decode()
        for name in ("x", "y")
    )
    jwk = json.dumps({"crv": "P-256", "kty": "EC", "x": x, "y": y}, separators=(",", ":"))
    digest = base64.urlsafe_b64encode(hashlib.sha256(jwk.encode()).digest())
    assert digest.rstrip(b"=").decode() == vector["thumbprint"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["thumbprint"][:8])
def test_product_derives_the_vector(vector):
    with DeriveServer(bytes.fromhex(vector["seed"])) as server:
        mock = "mock@" if set(vector["seed"]) == {"0"} else ""
        sealer = OysterSealer(mock + server.address)
        keys = [
            account_key.generate(vector["directory"], sealer, source="derived") for _ in range(2)
        ]
        private = derived.private_key(vector["directory"], sealer)
    assert {key.key.print for key in keys} == {vector["thumbprint"]}
    assert f"{private.private_numbers().private_value:064x}" == vector["d"]


@pytest.mark.parametrize(
    ("taken", "number"),
    [
        (0, 1),
        (1, 2),
        (ORDER - 2, ORDER - 1),
        (ORDER - 1, 1),
        (ORDER, 2),
        (2**384 - 1, (2**384 - 1) % (ORDER - 1) + 1),
    ],
)
def test_every_secret_gives_a_key(taken, number):
    for rest in (bytes(16), b"\xff" * 16):
        assert _number(taken.to_bytes(48, "big") + rest) == number


def test_random_key_derives_nothing():
    sealer = Deriving(b"s" * 64)
    first, second = (account_key.generate(DIRECTORY, sealer) for _ in range(2))
    assert (first == second, sealer.paths) == (False, [])


def test_path_names_purpose_and_directory():
    sealer = Deriving(b"s" * 64)
    derived.private_key(DIRECTORY, sealer)
    assert sealer.paths == [f"certbot-enclave/account/v1/{DIRECTORY}"]


def test_sealer_that_cannot_derive_is_refused():
    act = lambda: account_key.generate(DIRECTORY, MemorySealer(), source="derived")  # noqa: E731
    assert _code(errors.PolicyError, act) == "account-key-underivable"


@pytest.mark.parametrize("size", [0, 48, 63, 65])
def test_secret_of_another_size_is_refused(size):
    act = lambda: derived.private_key(DIRECTORY, Deriving(b"s" * size))  # noqa: E731
    assert _code(errors.SealError, act) == "sealer-broken"

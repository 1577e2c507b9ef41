# SPDX-License-Identifier: Apache-2.0
"""What other tests take for granted of LocalStack, and what it says if it is missing."""

import base64

import pytest
from cbor2 import dumps
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.world import localstack as world_localstack

pytestmark = pytest.mark.xdist_group("localstack")


def test_kms_decrypts_for_the_key_in_a_document(localstack):
    arn = localstack.kms("CreateKey")["KeyMetadata"]["Arn"]
    assert arn.startswith("arn:aws:kms:eu-central-1:")
    plain = base64.b64encode(b"data key").decode()
    blob = localstack.kms("Encrypt", KeyId=arn, Plaintext=plain)["CiphertextBlob"]
    assert localstack.kms("Decrypt", KeyId=arn, CiphertextBlob=blob)["Plaintext"] == plain
    public = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    document = dumps([b"", {}, dumps({"public_key": spki}), b""])
    reply = localstack.kms(
        "Decrypt",
        KeyId=arn,
        CiphertextBlob=blob,
        Recipient={
            "KeyEncryptionAlgorithm": "RSAES_OAEP_SHA_256",
            "AttestationDocument": base64.b64encode(document).decode(),
        },
    )
    assert not reply.get("Plaintext")
    assert base64.b64decode(reply["CiphertextForRecipient"])[0] == 0x30


def test_s3_honours_conditions(localstack):
    path = f"/{localstack.bucket('conditions')}/a"

    def put(body, **condition):
        headers = {name.replace("_", "-"): value for name, value in condition.items()}
        return localstack.ask("s3", "PUT", path, body, headers)

    first = put("one", If_None_Match="*")
    assert first.status_code == 200
    assert put("two", If_None_Match="*").status_code == 412
    assert put("two", If_Match=first.headers["ETag"]).status_code == 200
    assert put("three", If_Match=first.headers["ETag"]).status_code == 412
    assert localstack.ask("s3", "GET", path).content == b"two"


def test_without_its_venv_the_make_target_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(world_localstack, "VENV", tmp_path / ".venv-localstack")
    with pytest.raises(FileNotFoundError, match=r"make \.venv-localstack/ready"):
        world_localstack.LocalStack(tmp_path)

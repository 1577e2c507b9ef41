# SPDX-License-Identifier: Apache-2.0
"""The key service's envelope: opened in its two encodings, and refused in every other shape."""

import itertools
import os
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from certbot_enclave import errors
from certbot_enclave.aws import cms
from tests.support.cms import NULL, digest, encrypt_content, oaep, oid, seal, tlv

SECRET = bytes(range(32))
IV = bytes(16)
ISSUER = tlv(0x30, tlv(0x30), tlv(2, b"\x01"))


def _refused(data, recipient):
    with pytest.raises(errors.Error) as caught:
        cms.decrypt(data, recipient)
    return caught.value


@pytest.mark.parametrize("ber", [True, False])
@pytest.mark.parametrize("size", [0, 1, 15, 16, 32, 4096])
def test_both_encodings_open(recipient, ber, size):
    secret = os.urandom(size)
    assert cms.decrypt(seal(recipient.public_key(), secret, ber=ber), recipient) == secret


@pytest.mark.parametrize(
    "other",
    [
        {"version": 0, "outer_version": 0, "rid": ISSUER},
        {"version": 0, "outer_version": 2, "rid": ISSUER},
        *(
            {"algorithm": oaep(digest("sha256", first), digest("sha256", mask))}
            for first, mask in itertools.product((NULL, b""), repeat=2)
        ),
    ],
)
def test_other_spellings_of_the_same_open(recipient, other):
    assert cms.decrypt(seal(recipient.public_key(), SECRET, **other), recipient) == SECRET


@pytest.mark.parametrize("how", [["-stream", "-indef"], []])
@pytest.mark.parametrize("named", [["-keyid"], []])
def test_envelopes_of_openssl_open(tmp_path, recipient, how, named):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "recipient")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    public = recipient.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=3650))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .sign(recipient, SHA256())
    )
    (tmp_path / "pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    options = ["padding_mode:oaep", "oaep_md:sha256", "mgf1_md:sha256"]
    command = ["openssl", "cms", "-encrypt", "-binary", "-aes-256-cbc", "-outform", "DER"]
    command += [*how, *named, "-recip", str(tmp_path / "pem")]
    for option in options:
        command += ["-keyopt", f"rsa_{option}"]
    made = subprocess.run(command, input=SECRET, capture_output=True, check=True).stdout
    assert made[1] == (0x80 if how else 0x82)
    assert cms.decrypt(made, recipient) == SECRET


SHAPES: dict[str, list[dict]] = {
    "it is no sequence": [{"wrapper": 0x31}],
    "it is no enveloped data": [{"kind": "signed"}],
    "its version is neither 0 nor 2": [{"outer_version": 3}, {"outer_version": 1}],
    "set of one recipient has other parts": [
        {"recipients": []},
        {"recipients": [b"", b""]},
        {"recipients": [tlv(0xA1, b"")]},
    ],
    "recipient has other parts": [
        {"recipients": [tlv(0x30)]},
        {"rid": tlv(0xA0, tlv(4, bytes(20)))},
        {"rid": b""},
        {"rid": tlv(0x80, bytes(32)) * 2},
    ],
    "version of the recipient does not fit": [
        {"version": 0},
        {"version": 2, "rid": ISSUER},
        {"version": 3},
    ],
    "key is not encrypted by RSAES-OAEP with SHA-256": [
        {"algorithm": tlv(0x30, oid("rsa"), NULL)},
        {"algorithm": tlv(0x30, oid("oaep"), tlv(0x30))},  # SHA-1 by default
        {"algorithm": tlv(0x30, oid("oaep"))},
        {"algorithm": oaep(digest("sha1"))},
        {"algorithm": oaep(digest("sha384"))},
        {"algorithm": oaep(mask=digest("sha1"))},
        {"algorithm": oaep(function="sha256")},
        {"algorithm": oaep(None, None, "mgf1", tlv(0xA2, tlv(0x30, oid("data"), tlv(4, b"x"))))},
        {"algorithm": oaep(digest("sha256", tlv(4)))},
    ],
    "encrypted content has other parts": [
        {"form": 0xA1},
        {"content_algorithm": b""},
    ],
    "content is no data": [{"content_kind": "signed"}],
    "content encryption has other parts": [
        {"content_algorithm": tlv(0x30, oid("aes256"))},
        {"content_algorithm": tlv(0x30, oid("aes256gcm"), tlv(0x30, tlv(4, bytes(12))))},
        {"content_algorithm": tlv(0x30, oid("aes256"), tlv(4, IV), NULL)},
    ],
    "content is not encrypted by AES-256-CBC": [
        {"content_algorithm": tlv(0x30, oid("aes128"), tlv(4, IV))},
        {"content_algorithm": tlv(0x30, oid("aes256"), tlv(4, bytes(15)))},
        {"content_algorithm": tlv(0x30, oid("aes256"), tlv(4, bytes(17)))},
    ],
    "content is in pieces that are no octet strings": [
        {"pieces": [tlv(0x24, tlv(4, bytes(16)))]},
        {"pieces": [tlv(3, bytes(16))]},
    ],
    "enveloped data has other parts": [{"attributes": tlv(0xA1, tlv(0x30))}],
}


@pytest.mark.parametrize(
    ("words", "other"), [(words, other) for words, others in SHAPES.items() for other in others]
)
@pytest.mark.parametrize("ber", [True, False])
def test_every_other_shape_is_refused(recipient, words, other, ber):
    if not ber and "form" in other:
        other = {"form": other["form"] & ~0x20}
    # The same keys, so that what is refused would open if it were not.
    data = seal(recipient.public_key(), SECRET, ber=ber, iv=IV, **other)
    refused = _refused(data, recipient)
    assert (type(refused), refused.code) == (errors.FormatError, "kms-envelope-format")
    assert words in str(refused)


@pytest.mark.parametrize("ber", [True, False])
def test_every_prefix_and_every_addition_is_refused(recipient, ber):
    data = seal(recipient.public_key(), SECRET, ber=ber)
    for size in range(len(data)):
        assert _refused(data[:size], recipient).code == "ber-malformed"
    assert _refused(data + b"\0", recipient).code == "ber-malformed"


def test_no_changed_byte_gives_the_secret_in_another_form(recipient):
    # Who the recipient is said to be decides nothing, whatever its bytes are.
    data = seal(recipient.public_key(), SECRET, ber=False)
    at = data.index(bytes(32))
    free = {*range(at, at + 32)}
    opened = set()
    for index in {*range(len(data))} - free:
        changed = bytearray(data)
        changed[index] ^= 1
        try:
            if cms.decrypt(bytes(changed), recipient) == SECRET:
                opened.add(index)
        except errors.Error:
            continue
    # Version 2 becomes 3 and so on: no byte of the frame may be another one.
    assert opened == set()


def test_larger_than_any_envelope(recipient):
    data = seal(recipient.public_key(), bytes(cms.MAX_ENVELOPE))
    assert _refused(data, recipient).code == "kms-envelope-format"


def _unopenable(public):
    key = os.urandom(32)
    whole = encrypt_content(key, IV, SECRET)
    sha1 = padding.OAEP(padding.MGF1(SHA1()), SHA1(), None)
    label = padding.OAEP(padding.MGF1(SHA256()), SHA256(), b"label")
    yield "for another key", seal(rsa.generate_private_key(65537, 2048).public_key(), SECRET)
    yield "OAEP with SHA-1", seal(public, SECRET, encrypted_key=public.encrypt(key, sha1), key=key)
    yield "OAEP label", seal(public, SECRET, encrypted_key=public.encrypt(key, label), key=key)
    yield (
        "PKCS #1",
        seal(public, SECRET, encrypted_key=public.encrypt(key, padding.PKCS1v15()), key=key),
    )
    yield "short encrypted key", seal(public, SECRET, encrypted_key=bytes(255))
    for size in (16, 24):
        yield f"AES-{size * 8}", seal(public, SECRET, key=os.urandom(size))
    yield "no content", seal(public, SECRET, key=key, iv=IV, pieces=[])
    yield "half a block", seal(public, SECRET, key=key, iv=IV, content=whole[:-8])
    for pad in (
        bytes(16),
        b"\x11" * 16,
        b"\x02\x01" + bytes(13) + b"\x02",
        b"\x01\x02\x03" + b"\x10" * 13,
    ):
        yield f"padding {pad.hex()}", seal(public, SECRET, pad=pad)


def test_what_does_not_open_says_one_thing(recipient):
    said = set()
    for what, data in _unopenable(recipient.public_key()):
        refused = _refused(data, recipient)
        assert type(refused) is errors.SealError, what
        said.add((str(refused), refused.code, refused.hint, refused.__cause__))
    assert len(said) == 1
    assert next(iter(said))[1] == "kms-envelope"

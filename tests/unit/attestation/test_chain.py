# SPDX-License-Identifier: Apache-2.0
"""A chain is one path, complete and in order, on P-384 with SHA-384, from the one trusted root."""

import hashlib
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.x509.oid import ExtendedKeyUsageOID

from certbot_enclave import errors
from certbot_enclave.attestation import chain
from tests.support import forge
from tests.support.forge import CHAIN, NOW

OID = x509.ObjectIdentifier
P256 = ec.generate_private_key(ec.SECP256R1())
P521 = ec.generate_private_key(ec.SECP521R1())
K256 = ec.generate_private_key(ec.SECP256K1())
BRAINPOOL = ec.generate_private_key(ec.BrainpoolP384R1())
RSA = rsa.generate_private_key(65537, 2048)
EDWARDS = ed25519.Ed25519PrivateKey.generate()
CA_ROLES = ("root", "regional", "zonal", "instance")


def _verify(made, *, at=NOW, root=None, bundle=None):
    return chain.verify(
        made.leaf, made.bundle if bundle is None else bundle, trust_root=root or made.root, at=at
    )


def test_genuine_shape_is_followed():
    leaf = _verify(CHAIN)
    assert leaf == x509.load_der_x509_certificate(CHAIN.leaf)
    assert isinstance(leaf.public_key().curve, ec.SECP384R1)


def test_leaf_directly_below_the_root():
    made = forge.chain()
    short = forge.certificate(
        forge.GENUINE["leaf"], made.keys[-1], forge.GENUINE["root"].name, made.keys[0]
    )
    found = chain.verify(short, [made.root], trust_root=made.root, at=NOW)
    assert found == x509.load_der_x509_certificate(short)


FIRST = NOW - timedelta(hours=1)
LAST = FIRST + timedelta(hours=3, seconds=3)


@pytest.mark.parametrize("at", [FIRST, LAST], ids=["first second", "last second"])
def test_validity_includes_its_edges(at):
    assert _verify(CHAIN, at=at)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("at", [FIRST - SECOND, LAST + SECOND], ids=["before", "after"])
def test_validity_ends_at_its_edges(at):
    with pytest.raises(errors.ChainError) as caught:
        _verify(CHAIN, at=at)
    assert caught.value.code == "chain-invalid"
    assert f"{at:%Y-%m-%dT%H:%M:%SZ}" in str(caught.value)


def _swap(tbs, old, new):
    """Put other bytes of the same length into a certificate."""
    assert len(old) == len(new)
    assert old in tbs
    return tbs.replace(old, new)


UNKNOWN = x509.UnrecognizedExtension(OID("1.2.3.4"), b"\x05\x00")
SECOND_UNKNOWN = x509.UnrecognizedExtension(OID("1.2.3.5"), b"\x05\x00")
SIGNS = ("digital_signature", "content_commitment")
PAST = {"start": NOW - timedelta(days=40 * 365), "life": timedelta(days=365)}
FUTURE = {"start": NOW + timedelta(minutes=1)}

INVALID = {
    # A link that is not valid then, the root included.
    **{f"{role} expired": {role: PAST} for role in (*CA_ROLES, "leaf")},
    **{f"{role} not yet valid": {role: FUTURE} for role in (*CA_ROLES, "leaf")},
    # A link that may not issue.
    **{f"{role} is no CA": {role: {"ca": False, "path_length": None}} for role in CA_ROLES},
    **{f"{role} without keyUsage": {role: {"usage": None}} for role in CA_ROLES},
    **{
        f"{role} may not sign certificates": {role: {"usage": forge.usage(*SIGNS)}}
        for role in CA_ROLES
    },
    **{f"{role}'s keyUsage not critical": {role: {"usage_critical": False}} for role in CA_ROLES},
    **{f"{role} without basicConstraints": {role: {"ca": None}} for role in CA_ROLES},
    **{
        f"{role}'s basicConstraints not critical": {role: {"basic_critical": False}}
        for role in CA_ROLES
    },
    "root's path length": {"root": {"path_length": 2}},
    "regional's path length": {"regional": {"path_length": 1}},
    "zonal's path length": {"zonal": {"path_length": 0}},
    # A leaf that is something else.
    "leaf is a CA": {"leaf": {"ca": True}},
    "leaf is a CA of path length 0": {"leaf": {"ca": True, "path_length": 0}},
    "leaf without basicConstraints": {"leaf": {"ca": None}},
    "leaf's basicConstraints not critical": {"leaf": {"basic_critical": False}},
    "leaf without keyUsage": {"leaf": {"usage": None}},
    "leaf may not sign": {"leaf": {"usage": forge.usage("content_commitment")}},
    "leaf may sign certificates": {"leaf": {"usage": forge.usage(*SIGNS, "key_cert_sign")}},
    "leaf with SAN": {
        "leaf": {"more": ((x509.SubjectAlternativeName([x509.DNSName("a.example")]), False),)}
    },
    "leaf with EKU": {
        "leaf": {"more": ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),)}
    },
    # A link that was issued by another.
    "zonal under another name": {"zonal": {"issuer": "somebody.else"}},
    "leaf under another name": {"leaf": {"issuer": "somebody.else"}},
    "zonal signed by another": {"zonal": {"signer": ec.generate_private_key(ec.SECP384R1())}},
    "leaf signed by another": {"leaf": {"signer": ec.generate_private_key(ec.SECP384R1())}},
    "leaf signed by the zonal's key": {"leaf": {"signer": CHAIN.keys[2]}},
    # Extensions that are not understood, or there twice.
    **{
        f"{role}'s unknown critical extension": {role: {"more": ((UNKNOWN, True),)}}
        for role in (*CA_ROLES, "leaf")
    },
    **{
        f"{role}'s extension there twice": {
            role: {
                "more": ((UNKNOWN, False), (SECOND_UNKNOWN, False)),
                "mangle": lambda tbs: _swap(
                    tbs, bytes.fromhex("06032a0305"), bytes.fromhex("06032a0304")
                ),
            }
        }
        for role in (*CA_ROLES, "leaf")
    },
}


@pytest.mark.parametrize("changes", INVALID.values(), ids=INVALID)
def test_chain_that_does_not_hold(changes):
    with pytest.raises(errors.ChainError) as caught:
        _verify(forge.chain(**changes))
    assert caught.value.code == "chain-invalid"


HARMLESS = {
    "leaf's keyUsage critical": {"leaf": {"usage_critical": True}},
    "unknown extension, not critical": {"instance": {"more": ((UNKNOWN, False),)}},
    "subject key identifier, as since 2024-07": {
        "instance": {"more": ((x509.SubjectKeyIdentifier(b"12345678"), False),)}
    },
    "root's path length just enough": {"root": {"path_length": 3}},
}


@pytest.mark.parametrize("changes", HARMLESS.values(), ids=HARMLESS)
def test_what_the_hardware_may_do_is_accepted(changes):
    assert _verify(forge.chain(**changes))


KEYS = {
    "P-256": P256,
    "P-521": P521,
    "secp256k1": K256,
    "brainpool of the same size": BRAINPOOL,
    "RSA": RSA,
    "Ed25519": EDWARDS,
}


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_leaf_key_of_another_kind(key):
    with pytest.raises(errors.ChainError) as caught:
        _verify(forge.chain(leaf={"key": key}))
    assert caught.value.code == "chain-key"


@pytest.mark.parametrize("role", CA_ROLES)
def test_issuer_key_on_another_curve(role):
    with pytest.raises(errors.ChainError) as caught:
        _verify(forge.chain(**{role: {"key": P521}}))
    assert caught.value.code == "chain-key"


BAD_KEYS = {
    # The OID of P-384 is 1.3.132.0.34; 1.3.132.0.127 is none.
    "unknown curve": (bytes.fromhex("06052b81040022"), bytes.fromhex("06052b8104007f")),
    "point not on the curve": (
        CHAIN.keys[-1].public_key().public_numbers().x.to_bytes(48, "big"),
        b"\0" * 47 + b"\1",
    ),
}


@pytest.mark.parametrize(("old", "new"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_key_that_cannot_be_read(old, new):
    def mangle(tbs):
        return _swap(tbs, old, new)

    with pytest.raises(errors.ChainError) as caught:
        _verify(forge.chain(leaf={"key": CHAIN.keys[-1], "mangle": mangle}))
    assert caught.value.code == "chain-key"
    assert "cannot be read" in str(caught.value)


@pytest.mark.parametrize("digest", [SHA256, SHA512])
@pytest.mark.parametrize("role", [*CA_ROLES, "leaf"])
def test_signature_with_another_hash(role, digest):
    with pytest.raises(errors.ChainError) as caught:
        _verify(forge.chain(**{role: {"digest": digest}}))
    assert caught.value.code == "chain-algorithm"


def test_other_root_of_the_same_name_and_another_key():
    other = forge.chain()
    with pytest.raises(errors.ChainError) as caught:
        _verify(other, root=CHAIN.root)
    error = caught.value
    assert error.code == "chain-root"
    assert error.expected == hashlib.sha256(CHAIN.root).hexdigest()
    assert error.actual == hashlib.sha256(other.root).hexdigest()


def test_trusted_root_in_front_of_a_foreign_chain():
    other = forge.chain()
    with pytest.raises(errors.ChainError) as caught:
        _verify(other, root=CHAIN.root, bundle=[CHAIN.root, *other.bundle[1:]])
    assert caught.value.code == "chain-invalid"


def test_same_key_in_another_root_certificate_is_another_root():
    again = forge.chain(root={"key": CHAIN.keys[0], "life": timedelta(days=1000)})
    with pytest.raises(errors.ChainError) as caught:
        _verify(CHAIN, root=again.root)
    assert caught.value.code == "chain-root"


def test_without_a_named_root_it_is_that_of_aws():
    with pytest.raises(errors.ChainError) as caught:
        chain.verify(CHAIN.leaf, CHAIN.bundle, trust_root=None, at=NOW)
    assert (caught.value.code, caught.value.expected) == ("chain-root", chain.AWS_ROOT_SHA256)
    assert not chain.is_aws_root(CHAIN.root)


ROOT, REGIONAL, ZONAL, INSTANCE = CHAIN.bundle
STRANGER = forge.chain().bundle[1]
OTHER_ORDERS = {
    "shuffled": [ROOT, ZONAL, REGIONAL, INSTANCE],
    "reversed": [ROOT, INSTANCE, ZONAL, REGIONAL],
    "one twice": [ROOT, REGIONAL, REGIONAL, ZONAL, INSTANCE],
    "root twice": [ROOT, ROOT, REGIONAL, ZONAL, INSTANCE],
    "a stranger at the end": [*CHAIN.bundle, STRANGER],
    "a stranger in the middle": [ROOT, REGIONAL, STRANGER, ZONAL, INSTANCE],
    "leaf at the end": [*CHAIN.bundle, CHAIN.leaf],
}


@pytest.mark.parametrize("bundle", OTHER_ORDERS.values(), ids=OTHER_ORDERS)
def test_bundle_that_is_not_one_chain_in_order(bundle):
    with pytest.raises(errors.ChainError) as caught:
        _verify(CHAIN, bundle=bundle)
    assert caught.value.code == "chain-order"


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_link_that_is_missing(gone):
    bundle = CHAIN.bundle
    del bundle[gone]
    with pytest.raises(errors.ChainError) as caught:
        _verify(CHAIN, bundle=bundle)
    assert caught.value.code == "chain-invalid"


def _version(tbs):
    return _swap(tbs, bytes.fromhex("a003020102"), bytes.fromhex("a003020103"))


UNREADABLE = {
    "no DER": b"certificate",
    "cut": CHAIN.leaf[:-1],
    "byte behind": CHAIN.leaf + b"\0",
    "PEM": b"-----BEGIN CERTIFICATE-----",
    "unknown version": forge.chain(leaf={"mangle": _version}).leaf,
}


@pytest.mark.parametrize("der", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("at", [0, 1, 4], ids=["root", "regional", "leaf"])
def test_certificate_that_cannot_be_read(der, at):
    ders = list(CHAIN.ders)
    ders[at] = der
    with pytest.raises(errors.FormatError) as caught:
        chain.verify(ders[-1], ders[:-1], trust_root=ders[0], at=NOW)
    assert caught.value.code == "certificate-format"


def test_serial_number_that_is_not_positive():
    # cryptography only warns; with warnings as errors, as here, that must not escape either.
    def mangle(tbs):
        start = tbs.index(bytes.fromhex("a003020102")) + 7  # behind the serial's tag and length
        return tbs[:start] + b"\x80" + tbs[start + 1 :]

    with pytest.raises(errors.FormatError) as caught:
        _verify(forge.chain(leaf={"mangle": mangle}))
    assert caught.value.code == "certificate-format"
    assert "serial number" in str(caught.value)


def test_reason_is_one_printable_line_whatever_the_subject_says():
    made = forge.chain(leaf={"name": "one\n\x1b[2Jtwo\u202ethree", "usage": None})
    with pytest.raises(errors.ChainError) as caught:
        _verify(made)
    assert "three" in str(caught.value)
    assert str(caught.value).isprintable()

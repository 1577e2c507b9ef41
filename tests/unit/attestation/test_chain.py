# SPDX-License-Identifier: Apache-2.0
"""A chain is one path, complete and in order, on P-384 with SHA-384, from the one trusted root."""

import hashlib
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA512
from cryptography.x509 import verification as xv
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


def _leaf(der):
    certificate = x509.load_der_x509_certificate(der)
    return chain.Leaf(certificate.public_key(), certificate.subject.public_bytes())


def test_genuine_shape_is_followed():
    leaf = _verify(CHAIN)
    assert leaf == _leaf(CHAIN.leaf)
    assert isinstance(leaf.key.curve, ec.SECP384R1)


def test_leaf_directly_below_the_root():
    made = forge.chain()
    short = forge.certificate(
        forge.GENUINE["leaf"], made.keys[-1], forge.GENUINE["root"].name, made.keys[0]
    )
    found = chain.verify(short, [made.root], trust_root=made.root, at=NOW)
    assert found == _leaf(short)


FIRST = NOW - timedelta(hours=1)
LAST = FIRST + timedelta(hours=3, seconds=3)


@pytest.mark.parametrize("at", [FIRST, LAST], ids=["first second", "last second"])
def test_validity_includes_its_edges(at):
    assert _verify(CHAIN, at=at)


SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("at", "code"), [(FIRST - SECOND, "chain-not-yet-valid"), (LAST + SECOND, "chain-expired")]
)
def test_validity_ends_at_its_edges(at, code):
    with pytest.raises(errors.ChainError) as caught:
        _verify(CHAIN, at=at)
    assert caught.value.code == code
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

ANOTHER = ec.generate_private_key(ec.SECP384R1())
# ecdsa-with-SHA256 is 1.2.840.10045.4.3.2, ecdsa-with-SHA384 ends in 3.
INSIDE = (bytes.fromhex("06082a8648ce3d040303"), bytes.fromhex("06082a8648ce3d040302"))


def _other_algorithm_inside(tbs):
    return _swap(tbs, *INSIDE)


def _same_extension_twice(tbs):
    return _swap(tbs, bytes.fromhex("06032a0305"), bytes.fromhex("06032a0304"))


INVALID = {
    # A link that is not valid then, the root included.
    **{f"{role} expired": ({role: PAST}, "chain-expired") for role in (*CA_ROLES, "leaf")},
    **{
        f"{role} not yet valid": ({role: FUTURE}, "chain-not-yet-valid")
        for role in (*CA_ROLES, "leaf")
    },
    # A link that may not issue.
    **{
        f"{role} is no CA": ({role: {"ca": False, "path_length": None}}, "chain-ca")
        for role in CA_ROLES
    },
    **{f"{role} without basicConstraints": ({role: {"ca": None}}, "chain-ca") for role in CA_ROLES},
    **{
        f"{role}'s basicConstraints not critical": ({role: {"basic_critical": False}}, "chain-ca")
        for role in CA_ROLES
    },
    **{f"{role} without keyUsage": ({role: {"usage": None}}, "chain-usage") for role in CA_ROLES},
    **{
        f"{role} may not sign certificates": ({role: {"usage": forge.usage(*SIGNS)}}, "chain-usage")
        for role in CA_ROLES
    },
    **{
        f"{role}'s keyUsage not critical": ({role: {"usage_critical": False}}, "chain-usage")
        for role in CA_ROLES
    },
    "root's path length": ({"root": {"path_length": 2}}, "chain-path"),
    "regional's path length": ({"regional": {"path_length": 1}}, "chain-path"),
    "zonal's path length": ({"zonal": {"path_length": 0}}, "chain-path"),
    # A leaf that is something else.
    "leaf is a CA": ({"leaf": {"ca": True}}, "chain-leaf"),
    "leaf is a CA of path length 0": ({"leaf": {"ca": True, "path_length": 0}}, "chain-leaf"),
    "leaf without basicConstraints": ({"leaf": {"ca": None}}, "chain-leaf"),
    "leaf's basicConstraints not critical": ({"leaf": {"basic_critical": False}}, "chain-leaf"),
    "leaf without keyUsage": ({"leaf": {"usage": None}}, "chain-usage"),
    "leaf may not sign": ({"leaf": {"usage": forge.usage("content_commitment")}}, "chain-usage"),
    "leaf may sign certificates": (
        {"leaf": {"usage": forge.usage(*SIGNS, "key_cert_sign")}},
        "chain-usage",
    ),
    "leaf with SAN": (
        {"leaf": {"more": ((x509.SubjectAlternativeName([x509.DNSName("a.example")]), False),)}},
        "chain-leaf",
    ),
    "leaf with EKU": (
        {"leaf": {"more": ((x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),)}},
        "chain-leaf",
    ),
    # A link that was issued by another.
    "zonal under another name": ({"zonal": {"issuer": "somebody.else"}}, "chain-order"),
    "leaf under another name": ({"leaf": {"issuer": "somebody.else"}}, "chain-order"),
    "zonal signed by another": ({"zonal": {"signer": ANOTHER}}, "chain-signature"),
    "leaf signed by another": ({"leaf": {"signer": ANOTHER}}, "chain-signature"),
    "leaf signed by the zonal's key": ({"leaf": {"signer": CHAIN.keys[2]}}, "chain-signature"),
    **{
        f"{role} with another algorithm inside": (
            {role: {"mangle": _other_algorithm_inside}},
            "chain-algorithm",
        )
        for role in (*CA_ROLES, "leaf")
    },
    # Extensions that are not understood.
    **{
        f"{role}'s unknown critical extension": (
            {role: {"more": ((UNKNOWN, True),)}},
            "chain-extension",
        )
        for role in (*CA_ROLES, "leaf")
    },
    "regional's name constraints": (
        {"regional": {"more": ((x509.NameConstraints([x509.DNSName("a.example")], None), True),)}},
        "chain-extension",
    ),
    **{
        f"{role}'s extension there twice": (
            {
                role: {
                    "more": ((UNKNOWN, False), (SECOND_UNKNOWN, False)),
                    "mangle": _same_extension_twice,
                }
            },
            "certificate-format",
        )
        for role in (*CA_ROLES, "leaf")
    },
}


@pytest.mark.parametrize(("changes", "code"), INVALID.values(), ids=INVALID)
def test_chain_that_does_not_hold(changes, code):
    with pytest.raises((errors.ChainError, errors.FormatError)) as caught:
        _verify(forge.chain(**changes))
    assert caught.value.code == code


def _serial(data):
    """Give a certificate another serial number."""

    def mangle(tbs):
        assert tbs[4:10] == bytes.fromhex("a00302010202")
        size = b"\x81" * (len(data) > 127) + bytes([len(data)])
        body = tbs[4:9] + b"\x02" + size + data + tbs[11 + tbs[10] :]
        return b"\x30\x82" + len(body).to_bytes(2, "big") + body

    return mangle


@pytest.mark.parametrize("data", [b"\1" * 22, b"\1" * 130], ids=["22 bytes", "130 bytes"])
@pytest.mark.parametrize("role", [*CA_ROLES, "leaf"])
def test_serial_number_that_is_too_long(role, data):
    with pytest.raises(errors.ChainError) as caught:
        _verify(forge.chain(**{role: {"mangle": _serial(data)}}))
    assert caught.value.code == "chain-serial"


HARMLESS = {
    "longest serial number": {"leaf": {"mangle": _serial(b"\0" + b"\xff" * 20)}},
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
    assert caught.value.code == "chain-signature"


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
}


@pytest.mark.parametrize("bundle", OTHER_ORDERS.values(), ids=OTHER_ORDERS)
def test_bundle_that_is_not_one_chain_in_order(bundle):
    with pytest.raises(errors.ChainError) as caught:
        _verify(CHAIN, bundle=bundle)
    assert caught.value.code == "chain-order"


def test_leaf_at_the_end_of_the_bundle():
    with pytest.raises(errors.ChainError) as caught:
        _verify(CHAIN, bundle=[*CHAIN.bundle, CHAIN.leaf])
    assert caught.value.code == "chain-path"


@pytest.mark.parametrize("gone", [1, 2, 3])
def test_link_that_is_missing(gone):
    bundle = CHAIN.bundle
    del bundle[gone]
    with pytest.raises(errors.ChainError) as caught:
        _verify(CHAIN, bundle=bundle)
    assert caught.value.code == "chain-order"


def _version_4(tbs):
    return _swap(tbs, bytes.fromhex("a003020102"), bytes.fromhex("a003020103"))


def _version_1(tbs):
    assert tbs[4:9] == bytes.fromhex("a003020102")
    return tbs[:2] + (len(tbs) - 9).to_bytes(2, "big") + tbs[9:]


@pytest.mark.parametrize("role", [*CA_ROLES, "leaf"])
def test_certificate_of_version_1(role):
    with pytest.raises(errors.ChainError) as caught:
        _verify(forge.chain(**{role: {"mangle": _version_1}}))
    assert caught.value.code == "chain-version"


UNREADABLE = {
    "no DER": b"certificate",
    "cut": CHAIN.leaf[:-1],
    "byte behind": CHAIN.leaf + b"\0",
    "PEM": b"-----BEGIN CERTIFICATE-----",
    "unknown version": forge.chain(leaf={"mangle": _version_4}).leaf,
}


@pytest.mark.parametrize("der", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("at", [0, 1, 4], ids=["root", "regional", "leaf"])
def test_certificate_that_cannot_be_read(der, at):
    ders = list(CHAIN.ders)
    ders[at] = der
    with pytest.raises(errors.FormatError) as caught:
        chain.verify(ders[-1], ders[:-1], trust_root=ders[0], at=NOW)
    assert caught.value.code == "certificate-format"


def test_warning_of_the_library_does_not_escape():
    # With warnings as errors, as here, what it warns of is a certificate that cannot be read.
    with pytest.raises(errors.FormatError) as caught:
        _verify(forge.chain(leaf={"mangle": _serial(b"\x80")}))
    assert caught.value.code == "certificate-format"
    assert "serial number" in str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "data", [b"\x80", b"\x80" + b"\xff" * 19, b"\0"], ids=["negative", "long", "zero"]
)
def test_serial_number_that_is_not_positive(data):
    with pytest.raises(errors.ChainError) as caught:
        _verify(forge.chain(leaf={"mangle": _serial(data)}))
    assert caught.value.code == "chain-serial"


# What an independent verifier accepts of `certificate` -> extensions: the hardware's shape, with
# the rules of RFC 5280 that cryptography applies.
def _independent(made, at=NOW):
    critical, agnostic = xv.Criticality.CRITICAL, xv.Criticality.AGNOSTIC
    ca = (
        xv.ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, critical, None)
        .require_present(x509.KeyUsage, critical, None)
    )
    leaf = (
        xv.ExtensionPolicy.permit_all()
        .require_present(x509.BasicConstraints, critical, None)
        .require_present(x509.KeyUsage, agnostic, None)
    )
    loaded = [x509.load_der_x509_certificate(der) for der in made.ders]
    verifier = (
        xv.PolicyBuilder()
        .store(xv.Store([loaded[0]]))
        .time(at)
        .max_chain_depth(len(loaded))
        .extension_policies(ca_policy=ca, ee_policy=leaf)
        .build_client_verifier()
    )
    return verifier.verify(loaded[-1], loaded[1:-1]).chain == loaded[::-1]


ACCEPTED = {"as the hardware's": {}, **HARMLESS}


@pytest.mark.parametrize("changes", ACCEPTED.values(), ids=ACCEPTED)
def test_an_independent_verifier_accepts_what_is_accepted_here(changes):
    made = forge.chain(**changes)
    assert _verify(made)
    assert _independent(made)


def _cached(made, cache, *, at=NOW, leaf=None):
    return chain.verify(leaf or made.leaf, made.bundle, trust_root=made.root, at=at, cache=cache)


def test_cache_keeps_issuers_that_were_proven():
    cache = chain.ChainCache()
    made = forge.chain()
    first = _cached(made, cache)
    assert len(cache) == 1
    assert _cached(made, cache) == first
    again = forge.certificate(
        forge.GENUINE["leaf"], made.keys[-1], forge.GENUINE["instance"].name, made.keys[-2]
    )
    assert _cached(made, cache, leaf=again) == _leaf(again)
    assert len(cache) == 1


def test_cache_spares_the_issuers_signatures():
    made, cache = forge.chain(), chain.ChainCache()
    foreign = forge.chain(zonal={"signer": ANOTHER})
    assert _cached(made, cache)
    cache.keep(tuple(foreign.bundle), cache.find(tuple(made.bundle)))
    assert chain.verify(
        made.leaf, foreign.bundle, trust_root=foreign.root, at=NOW, cache=cache
    ) == _leaf(made.leaf)


@pytest.mark.parametrize("at", [FIRST - SECOND, LAST + timedelta(days=1)])
@pytest.mark.parametrize("role", ["root", "regional", "zonal", "instance"])
def test_validity_of_each_is_checked_with_a_cache_too(role, at):
    life = {"start": FIRST, "life": LAST - FIRST}
    long = {
        other: {"start": NOW - timedelta(days=9), "life": timedelta(days=99)}
        for other in (*CA_ROLES, "leaf")
    }
    made, cache = forge.chain(**{**long, role: life}), chain.ChainCache()
    assert _cached(made, cache)
    with pytest.raises(errors.ChainError) as caught:
        _cached(made, cache, at=at)
    assert caught.value.code in ("chain-expired", "chain-not-yet-valid")
    assert len(cache) == 1


def test_chain_that_does_not_hold_is_not_kept():
    cache = chain.ChainCache()
    with pytest.raises(errors.ChainError):
        _cached(forge.chain(zonal={"signer": ANOTHER}), cache)
    assert len(cache) == 0


def test_leaf_is_checked_with_a_cache_too():
    cache = chain.ChainCache()
    made = forge.chain()
    assert _cached(made, cache)
    for changes, code in (
        ({"ca": True}, "chain-leaf"),
        ({"signer": ANOTHER}, "chain-signature"),
        ({"key": P256}, "chain-key"),
    ):
        spec = replace(forge.GENUINE["leaf"], **changes)
        leaf = forge.certificate(
            spec,
            spec.key or made.keys[-1],
            forge.GENUINE["instance"].name,
            spec.signer or made.keys[-2],
        )
        with pytest.raises(errors.ChainError) as caught:
            _cached(made, cache, leaf=leaf)
        assert caught.value.code == code


def test_root_is_checked_with_a_cache_too():
    cache = chain.ChainCache()
    made = forge.chain()
    assert _cached(made, cache)
    with pytest.raises(errors.ChainError) as caught:
        chain.verify(made.leaf, made.bundle, trust_root=CHAIN.root, at=NOW, cache=cache)
    assert caught.value.code == "chain-root"


def test_cache_is_bounded_and_the_oldest_goes_first():
    cache = chain.ChainCache(capacity=2)
    made = [forge.chain() for _ in range(3)]
    for one in made:
        assert _cached(one, cache)
    assert len(cache) == 2
    assert cache.find(tuple(made[0].bundle)) is None
    assert cache.find(tuple(made[2].bundle)) is not None

# SPDX-License-Identifier: Apache-2.0
"""Certificates are found by certbot's name for them, and by the names that they hold."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from certbot_enclave import errors, lineages
from certbot_enclave.sealing import carried

KEY = ec.derive_private_key(7, ec.SECP256R1())
START = datetime(2026, 3, 4, tzinfo=UTC)
A, B = "a.test", "b.test"
MALFORMED = x509.UnrecognizedExtension(ExtensionOID.SUBJECT_ALTERNATIVE_NAME, b"\x30\x03\x82\x05a")


def _certificate(*names, start=START, extension=None):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cn.test")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(31)
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=90))
    )
    if names:
        extension = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, SHA256())


@pytest.fixture
def live(tmp_path):
    return tmp_path / "live"


def _put(live, name, certificate, written=0):
    path = live / name / "cert.pem"
    path.parent.mkdir(parents=True)
    data = certificate if isinstance(certificate, bytes) else certificate.public_bytes(Encoding.PEM)
    path.write_bytes(data)
    os.utime(path, ns=(written, written))


def _code(kind, call, *arguments):
    with pytest.raises(kind) as caught:
        call(*arguments)
    return caught.value.code


def test_certificates_come_sorted_and_nothing_else(live):
    assert list(lineages.certificates(live)) == []
    _put(live, "two", _certificate(B))
    _put(live, "one", _certificate(A))
    (live / "README").write_text("certbot's own")
    (live / "empty").mkdir()
    found = list(lineages.certificates(live))
    assert [name for name, _ in found] == ["one", "two"]
    assert [lineages.dns_names(certificate) for _, certificate in found] == [{A}, {B}]


@pytest.mark.parametrize("data", [b"", b"no PEM", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_damaged_certificate_is_an_error(live, data):
    _put(live, "one", data)
    for call in (lambda: list(lineages.certificates(live)), lambda: lineages.names(live, "one")):
        assert _code(errors.AccountError, call) == "lineage-unreadable"


def test_directory_in_place_of_a_certificate_is_an_error(live):
    (live / "one" / "cert.pem").mkdir(parents=True)
    assert _code(errors.AccountError, lineages.names, live, "one") == "lineage-unreadable"


def test_names_are_those_of_the_extension_only():
    assert lineages.dns_names(_certificate(B, A, "*.c.test")) == {A, B, "*.c.test"}
    assert lineages.dns_names(_certificate()) == frozenset()  # the common name is none


def test_malformed_names_are_an_error():
    certificate = _certificate(extension=MALFORMED)
    assert _code(errors.AccountError, lineages.dns_names, certificate) == "lineage-unreadable"


def test_names_of_an_existing_certificate(live):
    _put(live, "one", _certificate(B, A))
    assert lineages.names(live, "one") == [A, B]


@pytest.mark.parametrize("certname", [None, "", "two"])
def test_without_a_certificate_names_must_be_given(live, certname):
    _put(live, "one", _certificate(A))
    assert _code(errors.PolicyError, lineages.names, live, certname) == "names-missing"


def test_newest_is_the_one_issued_last_for_exactly_these_names(live):
    _put(live, "old", _certificate(A, B), written=9)
    _put(live, "new", _certificate(B, A, start=START + timedelta(days=1)))
    _put(live, "more", _certificate(A, B, "c.test", start=START + timedelta(days=2)))
    _put(live, "less", _certificate(A, start=START + timedelta(days=2)))
    where = live / "new"
    assert lineages.newest(live, frozenset({A, B})) == {
        "new": (str(where / "privkey.pem"), str(where / "fullchain.pem"))
    }
    with pytest.raises(errors.AccountError) as caught:
        lineages.newest(live, frozenset({B}))
    assert caught.value.code == "lineage-missing"


def test_newest_of_one_moment_is_the_one_written_last(live):
    _put(live, "a", _certificate(A), written=2)
    _put(live, "b", _certificate(A), written=1)
    assert list(lineages.newest(live, frozenset({A}))) == ["a"]


def test_serial_numbers_of_exactly_these_names(live):
    _put(live, "a", _certificate(A, B))
    assert lineages.serials(live, frozenset({B})) == frozenset()
    assert lineages.serials(live, frozenset({A, B})) == {31}


def _turned(live, name, generations):
    """Make links as certbot does; generation 0 for none."""
    for kind, number in zip(carried.KINDS, generations, strict=True):
        inside = live.parent / "archive" / name / f"{kind}{number}.pem"
        inside.parent.mkdir(parents=True, exist_ok=True)
        (live / name).mkdir(parents=True, exist_ok=True)
        if number:
            inside.touch()
            (live / name / f"{kind}.pem").symlink_to(f"../../archive/{name}/{inside.name}")


@pytest.mark.parametrize(
    ("generations", "whole"),
    [
        ((1, 1, 1, 1), True),
        ((12, 12, 12, 12), True),
        ((2, 1, 1, 1), False),
        ((2, 2, 2, 1), False),
        ((1, 1, 1, 0), False),
    ],
)
def test_half_turned_lineage_is_not_whole(live, generations, whole):
    _turned(live, A, generations)
    assert lineages.whole(live, A) is whole


def test_links_that_certbot_turned_back_say_their_whole_path(live, tmp_path):
    _turned(live, A, (1, 1, 1, 1))
    for kind in carried.KINDS:
        (live / A / f"{kind}.pem").unlink()
        (live / A / f"{kind}.pem").symlink_to(tmp_path / "archive" / A / f"{kind}1.pem")
    assert lineages.whole(live, A)


def test_lineage_whose_files_are_gone_or_elsewhere_is_not_whole(live, tmp_path):
    _turned(live, A, (1, 1, 1, 1))
    (tmp_path / "archive" / A / "privkey1.pem").unlink()
    assert not lineages.whole(live, A)
    _turned(live, B, (1, 1, 1, 0))
    (live / B / "privkey.pem").symlink_to(tmp_path / "archive" / B / "cert1.pem")
    assert not lineages.whole(live, B)

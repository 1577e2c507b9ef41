# SPDX-License-Identifier: Apache-2.0
"""Certificates in certbot's live directory are found by name and by what they are for."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from certbot_enclave import errors, lineages

START = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


def _certificate(*names, day=0):
    subject = x509.Name([])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(START + timedelta(days=day))
        .not_valid_after(START + timedelta(days=day + 90))
    )
    if names:
        san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        made = made.add_extension(san, critical=False)
    return made.sign(KEY, hashes.SHA256())


def _live(live, name, certificate, age=0):
    path = live / name / "cert.pem"
    path.parent.mkdir(parents=True)
    path.write_bytes(certificate.public_bytes(Encoding.PEM))
    os.utime(path, (1_000_000 - age, 1_000_000 - age))
    return path


def test_names_of_a_certificate(tmp_path):
    _live(tmp_path, "a", _certificate("b.test", "a.test"))
    assert lineages.names(tmp_path, "a") == ["a.test", "b.test"]
    assert lineages.dns_names(_certificate()) == frozenset()


@pytest.mark.parametrize("certname", [None, "", "missing"])
def test_no_name_is_an_error(tmp_path, certname):
    with pytest.raises(errors.PolicyError) as caught:
        lineages.names(tmp_path, certname)
    assert caught.value.code == "names-missing"


def test_all_are_yielded_by_name(tmp_path):
    for name in ("b", "a"):
        _live(tmp_path, name, _certificate(f"{name}.test"))
    assert [name for name, _ in lineages.certificates(tmp_path)] == ["a", "b"]
    assert list(lineages.certificates(tmp_path / "nowhere")) == []


@pytest.mark.parametrize("data", [b"", b"no certificate"])
def test_damaged_certificate_is_said(tmp_path, data):
    _live(tmp_path, "a", _certificate("a.test")).write_bytes(data)
    with pytest.raises(errors.AccountError) as caught:
        list(lineages.certificates(tmp_path))
    assert caught.value.code == "lineage-unreadable"


def test_newest_is_the_one_issued_last_for_exactly_these_names(tmp_path):
    names = frozenset({"a.test"})
    _live(tmp_path, "old", _certificate("a.test", day=1))
    _live(tmp_path, "same-day", _certificate("a.test", day=2), age=9)
    _live(tmp_path, "newest", _certificate("a.test", day=2))
    _live(tmp_path, "more", _certificate("a.test", "b.test", day=3))
    where = tmp_path / "newest"
    expected = {"newest": (str(where / "privkey.pem"), str(where / "fullchain.pem"))}
    assert lineages.newest(tmp_path, names) == expected
    assert lineages.newest(tmp_path, frozenset({"b.test"})) == {}

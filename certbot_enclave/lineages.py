# SPDX-License-Identifier: Apache-2.0
"""The certificates in certbot's live directory: ``live/NAME/{cert,privkey,fullchain}.pem``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509

from certbot_enclave import errors
from certbot_enclave.sealing import carried


def _read(path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise errors.AccountError(
            f"certificate {path} cannot be read: {error}", code="lineage-unreadable"
        ) from error


def certificates(live: Path) -> Iterator[tuple[str, x509.Certificate]]:
    """Yield each certificate with the name certbot gave it, sorted by name.

    Raises:
        AccountError: One cannot be read (``lineage-unreadable``).
    """
    for path in sorted(live.glob("*/cert.pem")):
        yield path.parent.name, _read(path)


def whole(live: Path, name: str) -> bool:
    """Return whether all four files of a lineage are there and belong together.

    They do not while certbot turns its links to a new generation, or when it was killed then; it
    sets that right at its next start.
    """
    generations = set()
    for kind in carried.KINDS:
        path = live / name / f"{kind}.pem"
        try:
            target = os.readlink(path)
        except OSError:
            return False
        inside = carried.target_of(f"live/{name}/{kind}.pem", target, os.fspath(live.parent))
        if inside is None or not path.is_file():
            return False
        generations.add(carried.generation_of(inside))
    return len(generations) == 1


def dns_names(certificate: x509.Certificate) -> frozenset[str]:
    """Return the DNS names of a certificate.

    Raises:
        AccountError: Its extensions are malformed (``lineage-unreadable``).
    """
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return frozenset()
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise errors.AccountError(
            f"names of certificate {certificate.serial_number:x} cannot be read: {error}",
            code="lineage-unreadable",
        ) from error
    return frozenset(san.value.get_values_for_type(x509.DNSName))


def serials(live: Path, names: frozenset[str]) -> frozenset[int]:
    """Return the serial numbers of the certificates for exactly these names.

    Raises:
        AccountError: A certificate cannot be read (``lineage-unreadable``).
    """
    return frozenset(
        certificate.serial_number
        for _, certificate in certificates(live)
        if dns_names(certificate) == names
    )


def names(live: Path, certname: str | None) -> list[str]:
    """Return the names of an existing certificate, for ``--cert-name NAME`` without ``-d``.

    Raises:
        PolicyError: There is none, or no name was given (``names-missing``).
    """
    if certname:
        path = live / certname / "cert.pem"
        if path.exists():
            return sorted(dns_names(_read(path)))
    raise errors.PolicyError(
        "no domain is named",
        code="names-missing",
        hint="name each with -d NAME: the gate opens for exactly these names",
    )


def newest(live: Path, ordered: frozenset[str]) -> dict[str, tuple[str, str]]:
    """Find the certificate for exactly these names that was issued last.

    Returns:
        certbot's name for it -> (path of the key, path of the full chain).

    Raises:
        AccountError: There is none (``lineage-missing``): the CA issued for other names, say.
    """
    found = [
        (certificate.not_valid_before_utc, (live / name / "cert.pem").stat().st_mtime_ns, name)
        for name, certificate in certificates(live)
        if dns_names(certificate) == ordered
    ]
    if not found:
        raise errors.AccountError(
            f"there is no certificate for exactly {', '.join(sorted(ordered))}",
            code="lineage-missing",
            hint="see what there is: certbot certificates",
        )
    name = max(found)[2]
    where = live / name
    return {name: (os.fspath(where / "privkey.pem"), os.fspath(where / "fullchain.pem"))}

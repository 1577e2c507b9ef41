# SPDX-License-Identifier: Apache-2.0
"""Trees as certbot makes them, with certificates that say when they were issued."""

import json
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from certbot_enclave.sealing import carried, tree

KEY = ec.derive_private_key(7, ec.SECP256R1())
START = datetime(2026, 3, 4, tzinfo=UTC)
URI = "https://ca.test/account/1"


def certificate(day):
    """A certificate that was issued on that day, PEM."""
    name = x509.Name([])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(31 + day)
        .not_valid_before(START + timedelta(days=day))
        .not_valid_after(START + timedelta(days=day + 90))
        .sign(KEY, SHA256())
        .public_bytes(Encoding.PEM)
    )


def account(config, uri=URI, directory="ca.test/directory", name="ab12"):
    """Write an account's files."""
    folder = f"accounts/{directory}/{name}"
    tree.restore(
        config,
        [
            tree.File(f"{folder}/private_key.json", 0o400, f"sealed {uri}".encode()),
            tree.File(f"{folder}/regr.json", 0o644, json.dumps({"uri": uri}).encode()),
        ],
    )


def lineage(config, name, day, generation=1):
    """Write a lineage as certbot does, or its next generation."""
    files = [
        tree.File(
            f"archive/{name}/{kind}{generation}.pem",
            0o600 if kind == "privkey" else 0o644,
            certificate(day) if kind == "cert" else f"{kind} of day {day}".encode(),
        )
        for kind in carried.KINDS
    ]
    links = [
        tree.Link(f"live/{name}/{kind}.pem", f"../../archive/{name}/{kind}{generation}.pem")
        for kind in carried.KINDS
    ]
    conf = tree.File(f"renewal/{name}.conf", 0o644, f"version = 5.8, day {day}\n".encode())
    readme = tree.File("live/README", 0o644, b"read me")
    tree.restore(config, [*files, readme, *links, conf])


def days(config):
    """Which lineages certbot sees, and of which day all four files of each are."""
    found = {}
    for path in sorted((config / "renewal").glob("*.conf")):
        live = config / "live" / path.stem
        parts = {
            (live / f"{kind}.pem").read_text().rpartition(" ")[2]
            for kind in ("chain", "fullchain", "privkey")
        }
        begin = x509.load_pem_x509_certificate((live / "cert.pem").read_bytes())
        parts.add(str((begin.not_valid_before_utc - START).days))
        found[path.stem] = parts
    return found

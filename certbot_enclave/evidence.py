# SPDX-License-Identifier: Apache-2.0
"""Making evidence inside the enclave, and putting it where the web server finds it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certbot_enclave import errors, statement
from certbot_enclave.account.key import public_jwk
from certbot_enclave.account.registration import Registered
from certbot_enclave.attestation import proof
from certbot_enclave.lineages import dns_names
from certbot_enclave.looks import Look
from certbot_enclave.runtime import Runtime
from certbot_enclave.sealing import tree

_SOFTWARE = ("acme", "certbot", "certbot-enclave", "cryptography", "dnspython", "josepy")


def _domain(look: Look) -> statement.Domain:
    found = look.verdict
    return statement.Domain(found.name, found.word, look.since, look.at, found.resolvers)


def _certificate(found: x509.Certificate) -> statement.Certificate:
    spki = found.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return statement.Certificate(
        names=tuple(sorted(dns_names(found))),
        serial=f"{found.serial_number:x}",
        spki_sha256=hashlib.sha256(spki).hexdigest(),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
    )


def make(
    runtime: Runtime,
    registered: Registered,
    *,
    looks: Iterable[Look],
    identities: tuple[str, ...],
    certificates: Iterable[x509.Certificate],
    nonce: bytes | None,
) -> bytes:
    """Make evidence about this enclave now.

    Args:
        runtime: This run.
        registered: The account, confirmed by the CA in this process.
        looks: What was last seen of CAA.
        identities: Issuer domain names of the CA.
        certificates: What the enclave holds.
        nonce: The verifier's; the only thing that a caller ever chooses.

    Raises:
        EnclaveError: The attester failed.
        FormatError: The statement would not be valid.
    """
    found = tuple(looks)
    mark = runtime.state.mark()
    conditions = {condition for look in found for condition in look.verdict.conditions}
    if runtime.simulated:
        conditions.add("simulated")
    text = statement.build(
        statement.Statement(
            issued_at=runtime.now(),
            directory=registered.ca.url,
            account_uri=registered.uri,
            thumbprint=registered.key.key.print,
            account_key=public_jwk(registered.key.key.public),
            external_account_binding=registered.external_account,
            caa_identities=identities,
            validation_methods=(runtime.settings.text("challenge"),),
            domains=tuple(_domain(look) for look in found),
            certificates=tuple(_certificate(item) for item in certificates),
            conditions=tuple(sorted(conditions)),
            sealing_scheme=runtime.sealer.scheme,
            sealing_key=runtime.sealer.key,
            generation=mark.generation if mark else 0,
            restored_from=mark.restored_from if mark else 0,
            settings=runtime.settings.stated(),
            software={name: metadata.version(name) for name in _SOFTWARE},
        )
    )
    attested = runtime.attester.attest(
        user_data=statement.user_data(text), public_key=registered.public_key, nonce=nonce
    )
    return statement.build_evidence(text, *proof.split(attested, runtime.attester.format))


def place(path: Path, evidence: bytes) -> None:
    """Write evidence atomically; it is public.

    Raises:
        TransportError: It cannot be written (``evidence-unwritable``).
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        tree.write(path, evidence, 0o644)
    except OSError as error:
        raise errors.TransportError(
            f"cannot write evidence to {path}: {error.strerror}", code="evidence-unwritable"
        ) from error

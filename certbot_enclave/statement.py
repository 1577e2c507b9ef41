# SPDX-License-Identifier: Apache-2.0
"""Statement v1 and evidence v1: what an enclave says about itself, and what binds it.

docs/evidence.md shows the form, and thirty lines that check it.

The statement travels as a string inside the evidence, so everybody hashes exactly the bytes that
were received and nothing needs canonicalising.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from certbot_enclave import errors, fields
from certbot_enclave.attestation import measurements
from certbot_enclave.attestation.proof import NITRO, OYSTER

STATEMENT_TYPE = "certbot-enclave/statement/v1"
EVIDENCE_TYPE = "certbot-enclave/evidence/v1"
TAG = b"certbot-enclave-statement-v1:"
ACCOUNT_TAG = b"certbot-enclave-account-v1:"
MAX_STATEMENT = 64 * 1024  # bytes
MAX_EVIDENCE = 256 * 1024  # bytes

OPEN = "open"
VERDICTS = ("exclusive", "pinned, zone unsigned", OPEN)

_verdict = fields.matching(re.compile("|".join(VERDICTS)), f"one of: {'; '.join(VERDICTS)}")


class Domain(NamedTuple):
    """What the enclave found out about one name.

    Attributes:
        name: The name.
        verdict: One of `VERDICTS`.
        since: From when on no CA goes by anything else, as far as the enclave's own looks tell
            (docs/evidence.md); None: it does not hold, or nothing is remembered.
        checked_at: When it was looked up.
        resolvers: Who was asked, in order.
    """

    name: str
    verdict: str
    since: datetime | None
    checked_at: datetime
    resolvers: tuple[str, ...]


class Certificate(NamedTuple):
    """A certificate that the enclave holds: serial and SPKI digest in lower-case hex."""

    names: tuple[str, ...]
    serial: str
    spki_sha256: str
    not_before: datetime
    not_after: datetime


class Statement(NamedTuple):
    """A statement whose every field passed its grammar; times are aware, lists sorted."""

    issued_at: datetime
    directory: str
    account_uri: str
    thumbprint: str
    account_key: Mapping[str, str]
    external_account_binding: bool
    caa_identities: tuple[str, ...]
    validation_methods: tuple[str, ...]
    domains: tuple[Domain, ...]
    certificates: tuple[Certificate, ...]
    conditions: tuple[str, ...]
    sealing_scheme: str
    sealing_key: str
    generation: int
    restored_from: int
    settings: Mapping[str, str | bool | tuple[str, ...]]
    software: Mapping[str, str]
    not_understood: tuple[str, ...] = ()


class Evidence(NamedTuple):
    """Evidence, taken apart; nothing in it is proven.

    Attributes:
        text: The exact text of the statement.
        document: The attestation document.
        signature: That of ``oyster-signed``, 64 bytes; None for ``aws-nitro``.
    """

    text: str
    document: bytes
    signature: bytes | None = None

    @property
    def format(self) -> str:
        """The attestation format."""
        return NITRO if self.signature is None else OYSTER


def _domain(item: Mapping[str, Any]) -> Domain:
    since = item["since"]
    return Domain(
        fields.name(item["name"], "domains.name"),
        _verdict(item["verdict"], "domains.verdict"),
        None if since is None else fields.time(since, "domains.since"),
        fields.time(item["checked_at"], "domains.checked_at"),
        fields.texts(item["resolvers"], "domains.resolvers"),
    )


def _certificate(item: Mapping[str, Any]) -> Certificate:
    return Certificate(
        fields.sorted_list(item["names"], "certificates.names", fields.name),
        fields.serial(item["serial"], "certificates.serial"),
        fields.sha256(item["spki_sha256"], "certificates.spki_sha256"),
        fields.time(item["not_before"], "certificates.not_before"),
        fields.time(item["not_after"], "certificates.not_after"),
    )


def _account_key(value: Any) -> Mapping[str, str]:
    key = fields.table(value, "account.key")
    if key.keys() != {"crv", "kty", "x", "y"} or (key["crv"], key["kty"]) != ("P-256", "EC"):
        fields.refuse("account.key", "a public EC JWK on P-256: crv, kty, x, y")
    return {**key, "x": fields.digest(key["x"], "key.x"), "y": fields.digest(key["y"], "key.y")}


def _methods(value: Any) -> tuple[str, ...]:
    methods = fields.sorted_list(value, "validation_methods", fields.label)
    if not methods:
        fields.refuse("validation_methods", "at least one method")
    return methods


def _domains(value: Any) -> tuple[Domain, ...]:
    domains = tuple(_domain(item) for item in fields.tables(value, "domains"))
    names = [domain.name for domain in domains]
    if names != sorted(set(names)):
        fields.refuse("domains", "sorted by name, each once")
    return domains


# Members that this version knows, of the statement itself ("") and of the objects in it.
_MEMBERS = {
    "": {
        "type",
        "issued_at",
        "directory",
        "account",
        "caa_identities",
        "validation_methods",
        "domains",
        "certificates",
        "conditions",
        "sealing",
        "state",
        "settings",
        "software",
    },
    "account": {"uri", "thumbprint", "key", "external_account_binding"},
    "domains": {*Domain._fields},
    "certificates": {*Certificate._fields},
    "sealing": {"scheme", "key"},
    "state": {"generation", "restored_from"},
}


def _not_understood(table: Mapping[str, Any]) -> tuple[str, ...]:
    found = set()
    for member, known in _MEMBERS.items():
        part = table[member] if member else table
        for item in part if isinstance(part, list) else [part]:
            for name in item.keys() - known:
                found.add(fields.printable(f"{member}.{name}" if member else name, "member"))
    return tuple(sorted(found))


def parse(text: str) -> Statement:
    """Read a statement.

    Args:
        text: As it stands in the evidence, at most `MAX_STATEMENT` bytes.

    Returns:
        The statement; members that this version does not know are named in `not_understood`.

    Raises:
        FormatError: A member is missing or breaks its grammar.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_STATEMENT:
        fields.refuse("statement", f"at most {MAX_STATEMENT} bytes")
    table = fields.strict_json(text, "statement")
    if table.get("type") != STATEMENT_TYPE:
        fields.refuse("type of the statement", STATEMENT_TYPE)

    def listed(member: str, read: Callable[[Any, str], str]) -> tuple[str, ...]:
        return fields.sorted_list(table[member], member, read)

    try:
        account = fields.table(table["account"], "account")
        sealing = fields.table(table["sealing"], "sealing")
        state = fields.table(table["state"], "state")
        settings = fields.table(table["settings"], "settings")
        software = fields.table(table["software"], "software")
        return Statement(
            issued_at=fields.time(table["issued_at"], "issued_at"),
            directory=fields.url(table["directory"], "directory"),
            account_uri=fields.url(account["uri"], "account.uri"),
            thumbprint=fields.digest(account["thumbprint"], "account.thumbprint"),
            account_key=_account_key(account["key"]),
            external_account_binding=fields.switch(
                account["external_account_binding"], "account.external_account_binding"
            ),
            caa_identities=fields.sorted_list(
                table["caa_identities"], "caa_identities", fields.issuer
            ),
            validation_methods=_methods(table["validation_methods"]),
            domains=_domains(table["domains"]),
            certificates=tuple(
                _certificate(item) for item in fields.tables(table["certificates"], "certificates")
            ),
            conditions=listed("conditions", fields.word),
            sealing_scheme=fields.label(sealing["scheme"], "sealing.scheme"),
            sealing_key=fields.printable(sealing["key"], "sealing.key"),
            generation=fields.count(state["generation"], "state.generation"),
            restored_from=fields.count(state["restored_from"], "state.restored_from"),
            settings={
                fields.word(name, "settings"): fields.setting(value, f"settings.{name}")
                for name, value in settings.items()
            },
            software={
                fields.word(name, "software"): fields.printable(value, f"software.{name}")
                for name, value in software.items()
            },
            not_understood=_not_understood(table),
        )
    except KeyError as error:
        raise errors.FormatError(f"statement lacks {error}", code="statement-format") from error


def _stamp(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def build(statement: Statement) -> str:
    """Write a statement; `parse` accepts the result.

    Raises:
        FormatError: A field of it breaks its grammar.
    """
    text = json.dumps(
        {
            "type": STATEMENT_TYPE,
            "issued_at": _stamp(statement.issued_at),
            "directory": statement.directory,
            "account": {
                "uri": statement.account_uri,
                "thumbprint": statement.thumbprint,
                "key": dict(statement.account_key),
                "external_account_binding": statement.external_account_binding,
            },
            "caa_identities": sorted(statement.caa_identities),
            "validation_methods": sorted(statement.validation_methods),
            "domains": [
                {
                    "name": domain.name,
                    "verdict": domain.verdict,
                    "since": None if domain.since is None else _stamp(domain.since),
                    "checked_at": _stamp(domain.checked_at),
                    "resolvers": list(domain.resolvers),
                }
                for domain in sorted(statement.domains, key=lambda domain: domain.name)
            ],
            "certificates": [
                {
                    "names": sorted(certificate.names),
                    "serial": certificate.serial,
                    "spki_sha256": certificate.spki_sha256,
                    "not_before": _stamp(certificate.not_before),
                    "not_after": _stamp(certificate.not_after),
                }
                for certificate in statement.certificates
            ],
            "conditions": sorted(statement.conditions),
            "sealing": {"scheme": statement.sealing_scheme, "key": statement.sealing_key},
            "state": {
                "generation": statement.generation,
                "restored_from": statement.restored_from,
            },
            "settings": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in sorted(statement.settings.items())
            },
            "software": dict(sorted(statement.software.items())),
        },
        indent=1,
    )
    parse(text)
    return text


def user_data(text: str) -> bytes:
    """Return what an attestation document carries in ``user_data`` to bind this statement."""
    return hashlib.sha512(TAG + text.encode()).digest()


def thumbprint(key: Mapping[str, str]) -> str:
    """Return the RFC 7638 thumbprint of a public JWK with exactly crv, kty, x and y."""
    text = json.dumps(dict(key), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def account_pcr(uri: str, public_key: bytes) -> bytes:
    """Return what a PCR holds that is bound to an account (setting ``bind_pcr``).

    It starts as zero and is extended once, with the SHA-384 of the binding:
    SHA384(0^48 ‖ `account_binding`).
    """
    return measurements.extended(account_binding(uri, public_key))


def account_binding(uri: str, public_key: bytes) -> bytes:
    """Return what a PCR is extended with to bind it to an account.

    SHA384(``certbot-enclave-account-v1:`` ‖ account URI ‖ zero byte ‖ account key), 48 bytes.

    Args:
        uri: The account URI.
        public_key: The account key, DER SubjectPublicKeyInfo.
    """
    return hashlib.sha384(ACCOUNT_TAG + uri.encode() + b"\0" + public_key).digest()


def build_evidence(text: str, document: bytes, signature: bytes | None = None) -> bytes:
    """Write evidence.

    Args:
        text: The statement.
        document: The attestation document.
        signature: For ``oyster-signed``: what binds the statement to the document.
    """
    attestation = {"format": NITRO, "document": base64.b64encode(document).decode()}
    if signature is not None:
        attestation["format"] = OYSTER
        attestation["signature"] = base64.b64encode(signature).decode()
    table = {"type": EVIDENCE_TYPE, "statement": text, "attestation": attestation}
    return (json.dumps(table, indent=1) + "\n").encode()


def parse_evidence(data: bytes) -> Evidence:
    """Take evidence apart.

    Args:
        data: At most `MAX_EVIDENCE` bytes. Hostile.

    Raises:
        FormatError: It is no evidence v1 (``evidence-format``, ``json-format``), or of another
            attestation format (``evidence-unknown``).
    """
    if len(data) > MAX_EVIDENCE:
        raise errors.FormatError(
            f"evidence has {len(data)} bytes, at most {MAX_EVIDENCE} are allowed",
            code="evidence-format",
        )
    try:
        table = fields.strict_json(data.decode("utf-8"), "evidence")
        if table.get("type") != EVIDENCE_TYPE:
            raise ValueError(f"type is not {EVIDENCE_TYPE}")
        text, attestation = table["statement"], table["attestation"]
        if not isinstance(text, str) or not isinstance(attestation, dict):
            raise TypeError("statement is no text, or attestation no object")
        if attestation["format"] not in (NITRO, OYSTER):
            raise errors.FormatError(
                f"attestation format is neither {NITRO} nor {OYSTER}", code="evidence-unknown"
            )
        signed = attestation["format"] == OYSTER
        if signed != ("signature" in attestation):
            raise ValueError(f"a signature belongs to {OYSTER}, and to nothing else")
        text.encode()  # a lone surrogate has no bytes that anybody could have hashed
        document = base64.b64decode(attestation["document"], validate=True)
        signature = base64.b64decode(attestation["signature"], validate=True) if signed else None
    except errors.FormatError:
        raise
    except (ValueError, TypeError, KeyError) as error:
        raise errors.FormatError(
            f"this is no evidence v1: {error}",
            code="evidence-format",
            hint="was it cut short? fetch it again, or ask the operator for evidence.json",
        ) from error
    return Evidence(text, document, signature)

# SPDX-License-Identifier: Apache-2.0
"""The attestation document of AWS Nitro Enclaves.

Field rules, with their source (AWS: nsm-api, docs/attestation_process.md; seen: what genuine
documents of 2021 to 2026 carry, where AWS's text and its hardware differ):

=============  ==========================================================  =======================
field          rule                                                        source
=============  ==========================================================  =======================
module_id      text, 1 to 255 characters, ``INSTANCE-encID``               AWS; seen
digest         text, ``SHA384``                                            AWS
timestamp      milliseconds since 1970, more than 0                        AWS
pcrs           index 0 to 31 -> 48 bytes; 0 to 15 there                    AWS; seen: 16, 17, 32
certificate    1 to 1024 bytes, DER                                        AWS
cabundle       1 to 8 certificates, root first                             AWS; seen: 4
public_key     null, or 0 to 1024 bytes                                    AWS says 1; seen: 0
user_data      null, or 0 to 1024 bytes                                    AWS says 512 and 1024
nonce          null, or 0 to 1024 bytes                                    AWS says 512 and 1024
=============  ==========================================================  =======================

The map of PCRs holds those that are locked: 0 to 15 are from the start (AWS, nsm-check), the others
once the enclave locked them. Null, absent and empty are kept apart.

A NitroTPM document (an EC2 instance, no enclave) comes under the same root; it has
``nitrotpm_pcrs`` and is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from certbot_enclave import errors
from certbot_enclave.attestation import cbor, chain, cose, measurements

PCR_SIZE = 48
MAX_FIELD = 1024
MAX_MODULE_ID = 255
# id-at-commonName and the tag of its UTF8String, in DER; the length takes one byte more.
_COMMON_NAME = bytes.fromhex("06035504030c")
_MODULE_ID = re.compile(r"[!-~]+-enc[!-~]+")
_LOCKED_AT_START = frozenset(range(16))
_REQUIRED = ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")
_OPTIONAL = ("public_key", "user_data", "nonce")


class Document(NamedTuple):
    """A document's content.

    Attributes:
        module_id: Name of the enclave, ``INSTANCE-encID``.
        timestamp_ms: When it was signed, milliseconds since 1970, by the hardware's clock.
        pcrs: Index -> 48-byte digest; read-only.
        certificate: DER of the leaf certificate.
        cabundle: DER of its issuers, root first.
        public_key: None if null or absent.
        user_data: Likewise.
        nonce: Likewise.
        absent: Which of these three are absent; the hardware makes them null.
        not_understood: Names of fields that this version does not know.
    """

    module_id: str
    timestamp_ms: int
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None
    absent: tuple[str, ...]
    not_understood: tuple[str, ...]

    @property
    def time(self) -> datetime:
        """When it was signed; aware, UTC."""
        return datetime.fromtimestamp(self.timestamp_ms / 1000, UTC)

    @property
    def instance_id(self) -> str:
        """The parent instance, from the module id."""
        return self.module_id.rpartition("-enc")[0]

    @property
    def debug(self) -> bool:
        """True if the enclave runs in debug mode: any of PCR0-2 is zero (PCR4 is set even then)."""
        return any(self.pcrs[index] == bytes(PCR_SIZE) for index in (0, 1, 2))


def _wrong(field: str, expected: str) -> errors.FormatError:
    return errors.FormatError(
        f"attestation document: {field} is not {expected}", code=f"document-{field}"
    )


def _is_bytes(value: Any, low: int, high: int) -> bool:
    return isinstance(value, bytes) and low <= len(value) <= high


def _pcrs(value: Any) -> Mapping[int, bytes]:
    if not isinstance(value, dict):
        raise _wrong("pcrs", "a map")
    if not all(type(index) is int and 0 <= index <= 31 for index in value):
        raise _wrong("pcrs", "indexed from 0 to 31")
    if not all(_is_bytes(digest, PCR_SIZE, PCR_SIZE) for digest in value.values()):
        raise _wrong("pcrs", f"of digests of {PCR_SIZE} bytes")
    if not _LOCKED_AT_START <= value.keys():
        raise _wrong("pcrs", "complete: PCR0 to PCR15 are needed")
    return MappingProxyType(value)


def parse(payload: bytes) -> Document:
    """Read the payload of a document; nothing in it is trusted yet.

    Raises:
        FormatError: A field is missing or breaks its rule (``document-FIELD``), or it is a
            NitroTPM document (``document-nitrotpm``).
    """
    table = cbor.loads(payload, indefinite_map=True)
    if not isinstance(table, dict) or not all(isinstance(name, str) for name in table):
        raise _wrong("payload", "a map with text keys")
    if "nitrotpm_pcrs" in table:
        raise errors.FormatError(
            "this is a NitroTPM document, of an instance and no enclave", code="document-nitrotpm"
        )
    missing = [name for name in _REQUIRED if name not in table]
    if missing:
        raise errors.FormatError(
            f"attestation document lacks {', '.join(missing)}", code="document-missing"
        )
    module_id, timestamp = table["module_id"], table["timestamp"]
    if not isinstance(module_id, str) or not _MODULE_ID.fullmatch(module_id):
        raise _wrong("module_id", "a text of the form INSTANCE-encID")
    if len(module_id) > MAX_MODULE_ID:
        raise _wrong("module_id", f"a text of at most {MAX_MODULE_ID} characters")
    if table["digest"] != "SHA384":
        raise _wrong("digest", "SHA384")
    # 2^43 ms is the year 2248; more is another unit or hostile.
    if type(timestamp) is not int or not 0 < timestamp < 1 << 43:
        raise _wrong("timestamp", "milliseconds since 1970")
    if not _is_bytes(table["certificate"], 1, chain.MAX_CERTIFICATE):
        raise _wrong("certificate", f"1 to {chain.MAX_CERTIFICATE} bytes")
    bundle = table["cabundle"]
    if not isinstance(bundle, list) or not 1 <= len(bundle) <= chain.MAX_BUNDLE:
        raise _wrong("cabundle", f"1 to {chain.MAX_BUNDLE} certificates")
    if not all(_is_bytes(der, 1, chain.MAX_CERTIFICATE) for der in bundle):
        raise _wrong("cabundle", f"of certificates of 1 to {chain.MAX_CERTIFICATE} bytes")
    for name in _OPTIONAL:
        if table.get(name) is not None and not _is_bytes(table[name], 0, MAX_FIELD):
            raise _wrong(name, f"null or 0 to {MAX_FIELD} bytes")
    return Document(
        module_id=module_id,
        timestamp_ms=timestamp,
        pcrs=_pcrs(table["pcrs"]),
        certificate=table["certificate"],
        cabundle=tuple(bundle),
        public_key=table.get("public_key"),
        user_data=table.get("user_data"),
        nonce=table.get("nonce"),
        absent=tuple(name for name in _OPTIONAL if name not in table),
        not_understood=tuple(sorted(table.keys() - {*_REQUIRED, *_OPTIONAL})),
    )


def authenticate(
    data: bytes, *, trust_root: bytes | None, cache: chain.ChainCache | None = None
) -> Document:
    """Read a document and prove who signed it.

    Nothing here judges freshness or measurements: the certificates live for hours, so the chain is
    followed at the document's own time, and its age is the caller's to judge.

    Args:
        data: COSE_Sign1 bytes. Hostile.
        trust_root: DER of a root that the caller named; None means the AWS Nitro root G1.
        cache: For bulk work: issuers that were proven before.

    Raises:
        FormatError: Not the one accepted encoding, or a field breaks its rule.
        ChainError: The certificates do not lead from the root to the leaf.
        SignatureError: The leaf's key did not sign this.
        BindingError: PCR4 or the leaf's name contradict the module id (``document-instance``,
            ``document-leaf``).
    """
    message = cose.parse(data)
    found = parse(message.payload)
    leaf = chain.verify(
        found.certificate, found.cabundle, trust_root=trust_root, at=found.time, cache=cache
    )
    cose.verify(message, leaf.key)
    # PCR4 = SHA384(0^48 ‖ instance id): AWS user guide, "Cryptographic attestation".
    instance = measurements.extended(found.instance_id.encode())
    if found.pcrs[4] != instance:
        raise errors.BindingError(
            f"PCR4 is not the digest of instance {found.instance_id}", code="document-instance"
        )
    # The leaf has one common name, MODULE_ID.REGION.aws.
    name = f"{found.module_id}.".encode()
    at = leaf.subject.find(_COMMON_NAME)
    if at != leaf.subject.rfind(_COMMON_NAME) or not leaf.subject.startswith(name, at + 7):
        raise errors.BindingError(
            f"the leaf certificate is not named after {found.module_id}", code="document-leaf"
        )
    return found

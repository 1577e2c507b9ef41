# SPDX-License-Identifier: Apache-2.0
"""Bundles: the sealed *and attested* state that an untrusted host may keep (docs/operator.md).

Layout: length of the envelope (4 bytes, big-endian) ‖ envelope ‖ attestation document with
``user_data`` = SHA-512(``certbot-enclave-bundle-v1:`` ‖ envelope). Sealing is not authenticity: a
host that may call a key service's Encrypt can seal an account key of its own. So the document is
verified, and its measurements compared with our own, before anything is decrypted or parsed.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certbot_enclave import errors
from certbot_enclave.attestation import document, proof
from certbot_enclave.interfaces import IAttester, ISealer
from certbot_enclave.sealing import archive, envelope
from certbot_enclave.sealing.tree import Entry

TAG = b"certbot-enclave-bundle-v1:"
KIND = "bundle"
# What names the code: PCR3, 4 and 5 to 15 name the instance or are not used (facts of AWS).
_CODE_PCRS = (0, 1, 2, 8)
ID = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True)
class Contents:
    """What a bundle carries.

    Attributes:
        bundle_id: 16 random bytes, lower-case hex; the same for every generation.
        generation: Counts up with every write, from 1.
        config_dir: Absolute path that the files belong to.
        accounts: ACME account URIs that the bundle holds keys of.
        entries: Directories, files and links, relative to `config_dir`, as `tree.collect` has them.
    """

    bundle_id: str
    generation: int
    config_dir: str
    accounts: tuple[str, ...]
    entries: tuple[Entry, ...]


def _binding(sealed: bytes) -> bytes:
    return hashlib.sha512(TAG + sealed).digest()


def make(
    contents: Contents,
    *,
    sealer: ISealer,
    attester: IAttester,
    public_key: bytes,
    names: Mapping[str, str] | None = None,
) -> bytes:
    """Seal and attest a bundle.

    Args:
        contents: What to carry.
        sealer: Wraps the data key.
        attester: Vouches for header and ciphertext.
        public_key: Account key, DER SubjectPublicKeyInfo.
        names: Whose it is, beside id and generation, for whoever reads the log of a key service.
            Public.

    Raises:
        SealError, EnclaveError, TransportError: From sealer or attester.
    """
    head = json.dumps(
        {"config_dir": contents.config_dir, "accounts": list(contents.accounts)}, sort_keys=True
    )
    sealed = envelope.seal(
        archive.pack(head.encode(), contents.entries),
        kind=KIND,
        fields={
            **(names or {}),
            "bundle_id": contents.bundle_id,
            "generation": contents.generation,
        },
        sealer=sealer,
    )
    attested = attester.attest(user_data=_binding(sealed), public_key=public_key, nonce=None)
    return len(sealed).to_bytes(4, "big") + sealed + attested


def _contents(fields: Mapping[str, str | int], plain: bytes) -> Contents:
    head, entries = archive.unpack(plain)
    try:
        table: Any = json.loads(head)
        if table.keys() != {"config_dir", "accounts"}:
            raise ValueError("members are not config_dir and accounts")
        bundle_id, generation = fields["bundle_id"], fields["generation"]
        config_dir, accounts = table["config_dir"], table["accounts"]
        if not (
            isinstance(bundle_id, str)
            and ID.fullmatch(bundle_id)
            and isinstance(generation, int)
            and generation > 0
            and isinstance(config_dir, str)
            and isinstance(accounts, list)
            and all(isinstance(uri, str) for uri in accounts)
        ):
            raise TypeError("a member has the wrong type")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise errors.FormatError(
            f"content of the bundle: {error}", code="bundle-content"
        ) from error
    return Contents(bundle_id, generation, config_dir, tuple(accounts), entries)


def open_(
    data: bytes,
    *,
    sealer: ISealer,
    trust_root: bytes | None,
    own: Mapping[int, bytes],
    format: str = proof.NITRO,
    bound: int | None = None,
) -> Contents:
    """Authenticate a bundle, then unseal and read it.

    Args:
        data: What the store returned. Hostile.
        sealer: This enclave's sealer.
        trust_root: Root of this enclave's attestation documents, as in `IAttester.trust_root`.
        own: This enclave's measurements, PCR index to digest.
        format: Of this enclave's attestation, as in `IAttester.format`.
        bound: The PCR that is bound to the account once the bundle is open, and so is not yet.

    Raises:
        FormatError: Damaged.
        VerificationError: Attested by nobody we trust.
        SealError: Attested for other bytes (``bundle-unattested``), by other code
            (``bundle-foreign``), or it does not unseal.
        TransportError: The sealer cannot be reached.
    """
    end = 4 + int.from_bytes(data[:4], "big")
    if len(data) <= end:
        raise errors.FormatError("bundle is cut short", code="bundle-truncated")
    sealed = data[4:end]
    raw, signature = proof.split(data[end:], format)
    found = document.authenticate(raw, trust_root=trust_root)
    try:
        proof.check_bound(found, signature, user_data=_binding(sealed), nonce=None)
    except (errors.VerificationError, errors.FormatError) as error:
        raise errors.SealError(
            "the attestation of the bundle was made for other bytes",
            code="bundle-unattested",
            hint="the host changed or mixed stored bundles; restore the newest one it kept",
        ) from error
    locked = {index for index in (*own, *found.pcrs) if index >= 16 and index != bound}
    for index in (*_CODE_PCRS, *sorted(locked)):
        if found.pcrs.get(index) != own.get(index):
            raise errors.SealError(
                f"the bundle was sealed by other code: its PCR{index} is "
                f"{_hex(found.pcrs.get(index))}, ours is {_hex(own.get(index))}",
                code="bundle-foreign",
                hint="run the image that sealed it; a new one begins with an account of its own: "
                "docs/recovery.md",
            )
    opened = envelope.parse(sealed)
    return _contents(opened.fields, envelope.unseal(opened, kind=KIND, sealer=sealer))


def _hex(digest: bytes | None) -> str:
    return "missing" if digest is None else digest.hex()

# SPDX-License-Identifier: Apache-2.0
"""A simulated enclave: Nitro's format to the byte, under a throw-away root.

``DIR`` holds ``root.pem`` (for verifiers), ``measurements.json`` (as nitro-cli prints it),
``enclave.json`` (which files are measured), ``root.key`` and ``sealing.key`` (secrets that protect
nothing: for demonstrations and tests only), and once it is needed ``pcrs.json`` (PCRs that were
extended since the last boot; delete it for another boot).

Files are measured as an EIF with these sections: the first is the kernel, the command line is
empty, the others are the ramdisks. So one changed byte anywhere changes PCR0.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID
from zope.interface import implementer

from certbot_enclave import errors
from certbot_enclave.attestation import cbor, cose, measurements
from certbot_enclave.interfaces import IAttester, ISecurityModule

REGION = "simulated-1"
# Lifetime and pathLen of each issuer below the root, as AWS has them; the leaf lives 3 h and 3 s.
_ISSUERS = (("regional", 20 * 24, 2), ("zonal", 6 * 24, 1), ("instance", 24, 0))
_LEAF_LIFE = timedelta(hours=3, seconds=3)
_REISSUE_AFTER = 2.75 * 3600  # seconds; the hardware too replaces its leaf before it expires


def _missing(directory: Path, error: Exception) -> errors.EnclaveError:
    reason = error.strerror if isinstance(error, OSError) else str(error)
    return errors.EnclaveError(
        f"no simulated enclave in {directory}: {reason}",
        code="simulated-missing",
        hint="make one with: certbot-enclave simulate DIR --image FILE",
    )


def _images(directory: Path) -> list[Path]:
    try:
        table = json.loads((directory / "enclave.json").read_text(encoding="utf-8"))
        images = [Path(name) for name in table["images"]]
        if not images:
            raise ValueError("enclave.json names no image")
        return images
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _missing(directory, error) from error


def measure(directory: Path) -> dict[int, bytes]:
    """Measure the image files of a simulated enclave now.

    Returns:
        PCR0 to PCR2.

    Raises:
        EnclaveError: There is none, or a file cannot be read (``simulated-missing``).
    """
    images = _images(directory)
    try:
        return _measured(images)
    except OSError as error:
        raise _missing(directory, error) from error


def _measured(images: Sequence[Path]) -> dict[int, bytes]:
    return measurements.of_files(images[0], None, images[1:])


def _name(common: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "XX"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "SIMULATED"),
            x509.NameAttribute(NameOID.COMMON_NAME, common),
        ]
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=not signs_certificates,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate(
    subject: str,
    public: ec.EllipticCurvePublicKey,
    issuer: str,
    signer: ec.EllipticCurvePrivateKey,
    *,
    start: datetime,
    life: timedelta,
    path_length: int | None = None,
    ca: bool = True,
) -> x509.Certificate:
    return (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + life)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=True)
        # Genuine leaves do not mark keyUsage as critical.
        .add_extension(_usage(signs_certificates=ca), critical=ca)
        .sign(signer, SHA384())
    )


ROOT_NAME = "simulated.nitro-enclaves"


def create(directory: Path, images: Sequence[Path], *, now: datetime | None = None) -> None:
    """Make a simulated enclave.

    Args:
        directory: Made with mode 0700; must not exist or be empty.
        images: Files to measure; at least one.
        now: Start of the root's validity; default: the system clock's.

    Raises:
        PolicyError: The directory is in use (``simulated-exists``).
        TransportError: An image cannot be read, or the directory not written.
    """
    if not images:
        raise errors.PolicyError("at least one image file is needed", code="simulated-image")
    now = now or datetime.now(UTC)
    key = ec.generate_private_key(ec.SECP384R1())
    root = _certificate(
        ROOT_NAME,
        key.public_key(),
        ROOT_NAME,
        key,
        start=now.replace(microsecond=0) - timedelta(days=1),
        life=timedelta(days=30 * 365),
    )
    absolute = [path.absolute() for path in images]
    instance = f"i-{secrets.token_hex(8)}0"
    enclave = {
        "images": [os.fspath(path) for path in absolute],
        "module_id": f"{instance}-enc{secrets.token_hex(8)}",
    }
    try:
        pcrs = _measured(absolute)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise errors.PolicyError(f"{directory} is not empty", code="simulated-exists")
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        for name, data in (
            ("root.key", pem),
            ("sealing.key", secrets.token_bytes(32)),
            ("root.pem", root.public_bytes(Encoding.PEM)),
            ("enclave.json", json.dumps(enclave, indent=1).encode()),
            ("measurements.json", measurements.to_json(pcrs).encode()),
        ):
            mode = 0o600 if name.endswith(".key") else 0o644
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            with open(os.open(directory / name, flags, mode), "wb") as file:
                file.write(data)
    except OSError as error:
        raise errors.TransportError(
            f"cannot make a simulated enclave in {directory}: {error}", code="simulated-write"
        ) from error


@implementer(IAttester, ISecurityModule)
class SimulatedAttester:
    """Makes documents of a simulated enclave.

    Args:
        argument: The directory that `create` made.
        clock: Seconds since 1970.

    Raises:
        EnclaveError: There is no simulated enclave there (``simulated-missing``).
    """

    simulated = True
    format = "aws-nitro"

    def __init__(self, argument: str, clock: Callable[[], float] = time.time) -> None:
        directory = Path(argument)
        self._clock = clock
        self._pcrs = measure(directory)
        self._bank_path = directory / "pcrs.json"
        try:
            enclave = json.loads((directory / "enclave.json").read_text(encoding="utf-8"))
            self._module_id: str = enclave["module_id"]
            root = x509.load_pem_x509_certificate((directory / "root.pem").read_bytes())
            key = load_pem_private_key((directory / "root.key").read_bytes(), None)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _missing(directory, error) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise _missing(directory, ValueError("root.key is no EC key"))
        self.trust_root = root.public_bytes(Encoding.DER)
        self._root, self._root_key = root, key
        self._issue()

    def _issue(self) -> None:
        begin = int(self._clock()) - 1
        self._reissue_at = begin + _REISSUE_AFTER
        start = datetime.fromtimestamp(begin, UTC)
        instance = self._module_id.rpartition("-enc")[0]
        issuer, signer, bundle = ROOT_NAME, self._root_key, [self._root]
        for role, hours, path_length in _ISSUERS:
            prefix = instance if role == "instance" else secrets.token_hex(8)
            subject = f"{prefix}.{REGION}.{role}.nitro-enclaves"
            below = ec.generate_private_key(ec.SECP384R1())
            bundle.append(
                _certificate(
                    subject,
                    below.public_key(),
                    issuer,
                    signer,
                    start=start,
                    life=timedelta(hours=hours),
                    path_length=path_length,
                )
            )
            issuer, signer = subject, below
        self._key = ec.generate_private_key(ec.SECP384R1())
        leaf = _certificate(
            f"{self._module_id}.{REGION}.aws",
            self._key.public_key(),
            issuer,
            signer,
            start=start,
            life=_LEAF_LIFE,
            ca=False,
        )
        self._bundle = [certificate.public_bytes(Encoding.DER) for certificate in bundle]
        self._leaf = leaf.public_bytes(Encoding.DER)

    def attest(self, *, user_data: bytes, public_key: bytes, nonce: bytes | None) -> bytes:
        """See `IAttester.attest`."""
        if self._clock() >= self._reissue_at:
            self._issue()
        instance = self._module_id.rpartition("-enc")[0].encode()
        zero = bytes(measurements.SIZE)
        pcrs = {index: self._pcrs.get(index, zero) for index in range(16)}
        pcrs[4] = measurements.extended(instance)
        pcrs |= {index: value for index, (locked, value) in self._bank().items() if locked}
        payload = cbor.dumps(
            {
                "module_id": self._module_id,
                "digest": "SHA384",
                "timestamp": int(self._clock() * 1000),
                "pcrs": pcrs,
                "certificate": self._leaf,
                "cabundle": self._bundle,
                "public_key": public_key,
                "user_data": user_data,
                "nonce": nonce,
            },
            indefinite_map=True,
        )
        return sign(payload, self._key)

    def random(self) -> bytes:
        """See `ISecurityModule.random`."""
        return secrets.token_bytes(256)

    def pcr(self, index: int) -> tuple[bool, bytes]:
        """See `ISecurityModule.pcr`."""
        if index < 16:
            return True, self._pcrs.get(index, bytes(measurements.SIZE))
        return self._bank().get(index, (False, bytes(measurements.SIZE)))

    def extend(self, index: int, data: bytes) -> bytes:
        """See `ISecurityModule.extend`."""
        value = hashlib.sha384(self._unlocked(index) + data).digest()
        self._keep(index, False, value)
        return value

    def lock(self, index: int) -> None:
        """See `ISecurityModule.lock`."""
        self._keep(index, True, self._unlocked(index))

    def _unlocked(self, index: int) -> bytes:
        locked, value = self.pcr(index)
        if locked:
            raise errors.EnclaveError(f"PCR{index} is locked", code="simulated-locked")
        return value

    def _bank(self) -> dict[int, tuple[bool, bytes]]:
        try:
            table = json.loads(self._bank_path.read_bytes())
            return {
                int(index): (bool(locked), bytes.fromhex(value))
                for index, (locked, value) in table.items()
            }
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise _missing(self._bank_path.parent, error) from error

    def _keep(self, index: int, locked: bool, value: bytes) -> None:
        table = {str(key): [lock, kept.hex()] for key, (lock, kept) in self._bank().items()}
        table[str(index)] = [locked, value.hex()]
        scratch = self._bank_path.with_suffix(".new")
        try:
            scratch.write_text(json.dumps(table), encoding="utf-8")
            scratch.replace(self._bank_path)
        except OSError as error:
            raise _missing(self._bank_path.parent, error) from error


def sign(payload: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the COSE_Sign1 message over a payload."""
    r, s = decode_dss_signature(key.sign(cose.to_be_signed(payload), ec.ECDSA(SHA384())))
    half = cose.SIGNATURE_SIZE // 2
    signature = r.to_bytes(half, "big") + s.to_bytes(half, "big")
    return cbor.dumps([cose.PROTECTED, {}, payload, signature])

# SPDX-License-Identifier: Apache-2.0
"""What `benchmarks.sealing` measures, each in a process of its own.

``python -m benchmarks.sealing_work WORK FOLDER [COUNT]`` prints one line of JSON: seconds and CPU
seconds without the start of Python and imports, and the greatest resident set in MiB with both.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from certbot_enclave.attestation import document, simulated
from certbot_enclave.sealing.simulated import SimulatedSealer
from certbot_enclave.sealing.state import Mark, State
from certbot_enclave.sealing.stores.file import FileStore

URI = "https://ca.test/acct/1"
_SCTS = x509.ObjectIdentifier("1.3.6.1.4.1.11129.2.4.2")
_CHAIN = 2  # certificates behind the leaf, as Let's Encrypt sends with a cross-sign
_RENEWAL = """# renew_before_expiry = 30 days
version = 5.8.0
archive_dir = {top}/archive/{name}
cert = {top}/live/{name}/cert.pem
privkey = {top}/live/{name}/privkey.pem
chain = {top}/live/{name}/chain.pem
fullchain = {top}/live/{name}/fullchain.pem

# Options used in the renewal process
[renewalparams]
account = 0123456789abcdef0123456789abcdef
authenticator = enclave
installer = enclave
server = https://acme-v02.api.letsencrypt.org/directory
key_type = ecdsa
http01_port = 8080
http01_address = 127.0.0.1
[acme_renewal_info]
ari_retry_after = 2026-11-25T12:00:00
"""
_README = "This directory contains your keys and certificates.\n" * 12


def _certificate(name: str, issuer: ec.EllipticCurvePrivateKey) -> tuple[bytes, bytes]:
    """Return a certificate of a usual size and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Benchmark")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=90))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=True)
        .add_extension(x509.UnrecognizedExtension(_SCTS, b"\x04\x78" + os.urandom(240)), False)
    )
    pem = builder.sign(issuer, SHA256()).public_bytes(Encoding.PEM)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem, private


def _write(path: Path, data: bytes, mode: int) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.write_bytes(data)
    path.chmod(mode)


def fill(top: Path, count: int) -> None:
    """Make certbot's config directory with so many certificates, as certbot leaves it."""
    issuer = ec.generate_private_key(ec.SECP256R1())
    chain = b"".join(_certificate("ca.test", issuer)[0] for _ in range(_CHAIN))
    account = top / "accounts/ca.test/directory/0123456789abcdef0123456789abcdef"
    _write(account / "private_key.json", b"{}" * 700, 0o400)
    _write(account / "regr.json", b"{}" * 40, 0o600)
    _write(account / "meta.json", b"{}" * 60, 0o600)
    _write(top / "enclave/settings.json", b"{}" * 500, 0o600)
    for number in range(count):
        name = f"n{number}.example.test"
        leaf, private = _certificate(name, issuer)
        live = top / "live" / name
        for kind, data, mode in (
            ("cert", leaf, 0o644),
            ("chain", chain, 0o644),
            ("fullchain", leaf + chain, 0o644),
            ("privkey", private, 0o600),
        ):
            _write(top / "archive" / name / f"{kind}1.pem", data, mode)
            live.mkdir(mode=0o755, parents=True, exist_ok=True)
            (live / f"{kind}.pem").symlink_to(f"../../archive/{name}/{kind}1.pem")
        _write(live / "README", _README.encode(), 0o644)
        text = _RENEWAL.format(top=top, name=name)
        _write(top / "renewal" / f"{name}.conf", text.encode(), 0o644)


def _state(folder: Path) -> tuple[State, dict[int, bytes]]:
    simulator = str(folder / "enclave")
    attester = simulated.SimulatedAttester(simulator)
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    raw = attester.attest(user_data=b"", public_key=spki, nonce=None)
    own = document.authenticate(raw, trust_root=attester.trust_root).pcrs
    state = State(
        folder / "config",
        store=FileStore(str(folder / "bundle")),
        sealer=SimulatedSealer(simulator),
        attester=attester,
    )
    return state, dict(own)


def prepare(folder: Path, count: int) -> None:
    """Make an enclave with so many certificates and nothing sealed."""
    image = folder / "app.bin"
    image.write_bytes(b"code")
    simulated.create(folder / "enclave", [image])
    fill(folder / "config", count)


def _timed(work: Callable[[], Mark]) -> dict[str, float]:
    started, used = time.perf_counter(), time.process_time()
    mark = work()
    spent = {"wall": time.perf_counter() - started, "cpu": time.process_time() - used}
    if mark.generation != 1:
        raise RuntimeError(f"{mark}")
    return spent


def seal(folder: Path) -> dict[str, float]:
    """Seal everything into an empty store."""
    (folder / "bundle").unlink(missing_ok=True)
    (folder / "config/enclave/boot.json").unlink(missing_ok=True)
    state, own = _state(folder)
    state.restore(own)  # finds nothing
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return _timed(lambda: state.save([URI], spki))


def restore(folder: Path) -> dict[str, float]:
    """Restore everything into an empty directory."""
    shutil.rmtree(folder / "config")
    state, own = _state(folder)
    return _timed(lambda: state.restore(own))


def nothing(folder: Path) -> dict[str, float]:
    """Import and make what the others need."""
    _state(folder)
    return {"wall": 0.0, "cpu": 0.0}


def main() -> int:
    """Do one work."""
    work, folder, *count = sys.argv[1:]
    if work == "prepare":
        prepare(Path(folder), int(count[0]))
        return 0
    spent = {"seal": seal, "restore": restore, "nothing": nothing}[work](Path(folder))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({**spent, "memory": memory}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

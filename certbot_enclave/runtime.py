# SPDX-License-Identifier: Apache-2.0
"""One run inside the enclave: its settings, its components, its state."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from certbot_enclave import errors, registry
from certbot_enclave.attestation import document, entropy, proof
from certbot_enclave.deploy import files
from certbot_enclave.interfaces import IAttestedSealer, IAttester, ISealer, ISecurityModule
from certbot_enclave.sealing import ram, tree
from certbot_enclave.sealing.state import State
from certbot_enclave.sealing.stores.none import NoStore
from certbot_enclave.settings import (
    MEASURED_FILE,
    Settings,
    Value,
    check_saved,
    effective,
    parse_file,
)

NSM = "/dev/nsm"
_REAL = ("nsm", "oyster")  # in the order in which auto asks them
_KEYS = ("accounts", "archive", "keys")  # directories below certbot's config directory
CLOCK_TOLERANCE = 60.0  # seconds between our clock and the hardware's (docs/guard.md)


@dataclass(frozen=True)
class Directories:
    """certbot's directories, absolute."""

    config: Path
    work: Path
    logs: Path


@dataclass(frozen=True)
class Runtime:
    """What a command inside works with.

    Attributes:
        settings: The effective settings.
        directories: certbot's directories.
        attester: Makes attestation documents.
        sealer: Wraps keys.
        state: What survives.
        clock: Seconds since 1970.
        own_server: ACME directory that this enclave's evidence is about; empty before the first
            registration.
    """

    settings: Settings
    directories: Directories
    attester: IAttester
    sealer: ISealer
    state: State
    clock: Callable[[], float] = time.time
    own_server: str = ""

    @property
    def simulated(self) -> bool:
        """True if anything that speaks for this enclave is simulated."""
        return self.attester.simulated or self.sealer.simulated

    @property
    def bound_pcr(self) -> int | None:
        """The PCR to bind to the account, or None."""
        named = self.settings.text("bind_pcr")
        return int(named) if named else None

    @property
    def own_directory(self) -> Path:
        """Our own files below certbot's config directory."""
        return self.directories.config / "enclave"

    @property
    def evidence_path(self) -> Path:
        """Where evidence is written."""
        named = self.settings.text("evidence")
        return Path(named) if named else self.own_directory / "evidence.json"

    def deployment(self) -> Path | None:
        """Return the directory that certificates are handed over in; None if nowhere.

        Raises:
            PolicyError: It is no directory (``deploy-invalid``), or not in RAM, or cannot be
                written, as `ram.require` and `ram.require_writable`.
        """
        if not self.settings.text("deploy"):
            return None
        directory = files.directory(self.settings.text("deploy"))
        ram.require_writable([directory])
        if not self.simulated and not self.settings.switch("allow_disk"):
            ram.require([directory])
        return directory

    def now(self) -> datetime:
        """Return this run's time in whole seconds; `look` says whether the hardware agrees."""
        return datetime.fromtimestamp(int(self.clock()), UTC)

    def look(self) -> document.Document:
        """Return a fresh attestation document of this enclave, authenticated.

        Raises:
            EnclaveError: The attester is broken, or its clock and ours disagree by more than
                `CLOCK_TOLERANCE` (``clock-wrong``).
        """
        # The document needs some public key, and key services trust whatever key stands there:
        # so it is one whose private half nobody has.
        public = ec.generate_private_key(ec.SECP256R1()).public_key()
        raw = self.attester.attest(user_data=b"", public_key=spki(public), nonce=None)
        try:
            shown, _ = proof.split(raw, self.attester.format)
            seen = document.authenticate(shown, trust_root=self.attester.trust_root)
        except (errors.VerificationError, errors.FormatError) as error:
            raise errors.EnclaveError(
                f"the attester's own document does not verify: {error}", code="attester-broken"
            ) from error
        apart = self.clock() - seen.timestamp_ms / 1000
        if abs(apart) > CLOCK_TOLERANCE:
            raise errors.EnclaveError(
                f"the system clock is {apart:+.0f} seconds off the hardware's, "
                f"at most {CLOCK_TOLERANCE:.0f} are allowed",
                code="clock-wrong",
                hint="the host may be lying about time; set the clock from the attester",
            )
        return seen

    def require_server(self, server: str, *, trial: bool = False) -> None:
        """Refuse a directory that the settings of a real enclave do not name.

        certbot's ``--server``, ``--staging`` and ``--dry-run`` are arguments, and not measured.

        Args:
            server: URL of the directory.
            trial: Nothing of this run is kept, so that it may rehearse.

        Raises:
            PolicyError: It is another one (``settings-contradicted``).
        """
        measured = self.settings.text("server")
        if trial and server and server == self.settings.text("staging_rehearsal"):
            return
        if not self.simulated and server != measured:
            raise errors.PolicyError(
                f"server is {server!r} on the command line, but {measured!r} in {MEASURED_FILE}",
                code="settings-contradicted",
                hint="in a real enclave only the measured file decides",
            )

    def save_settings(self) -> None:
        """Keep the effective settings for later commands; there is no secret in them."""
        text = json.dumps(dict(self.settings), sort_keys=True, indent=1)
        file = tree.File("enclave/settings.json", 0o600, text.encode())
        tree.restore(self.directories.config, [file])


def spki(public: ec.EllipticCurvePublicKey) -> bytes:
    """Return a public key as DER SubjectPublicKeyInfo."""
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _measured(path: str) -> dict[str, Value] | None:
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise errors.PolicyError(
            f"cannot read {path}: {error.strerror}", code="settings-unreadable"
        ) from error
    return parse_file(data, path)


def _saved(directories: Directories) -> dict[str, Value]:
    path = directories.config / "enclave" / "settings.json"
    try:
        table = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise errors.PolicyError(f"cannot read {path}: {error}", code="settings-saved") from error
    return check_saved(table, os.fspath(path))


def _required(settings: Settings, name: str, example: str) -> str:
    value = settings.text(name)
    if not value:
        raise errors.PolicyError(
            f"no {name} is named",
            code=f"{name}-missing",
            hint=f"name one: --enclave-{name} {example} (certbot-enclave: --{name})",
        )
    return value


def _attester(spec: str) -> IAttester:
    """Load an attester; ``auto`` means the first whose environment this is, never a simulated one.

    Raises:
        EnclaveError: It is no real attester's environment (``enclave-missing``), or that of one
            which is broken: then no other is asked.
    """
    if spec != "auto":
        return registry.load_attester(spec)
    reasons = []
    for name in _REAL:
        try:
            return registry.load_attester(name)
        except errors.EnclaveError as error:
            if error.code != "attester-absent":
                raise
            reasons.append(str(error))
    raise errors.EnclaveError(
        f"this is no enclave: {'; '.join(reasons)}; and no simulated one was named",
        code="enclave-missing",
        hint="run inside a Nitro enclave, or make a simulated one with "
        "`certbot-enclave simulate DIR --image FILE` and name it: --enclave-attester simulated:DIR",
    )


def _mix(attester: IAttester) -> None:
    """Mix the hardware's randomness into the kernel's, before any key is made from that."""
    if not attester.simulated and ISecurityModule.providedBy(attester):
        entropy.mix(cast(ISecurityModule, attester).random())


def start(
    options: Mapping[str, Value],
    directories: Directories,
    *,
    measured: str | None = None,
    clock: Callable[[], float] = time.time,
) -> Runtime:
    """Decide the settings and load the components.

    Args:
        options: Settings from the command line.
        directories: certbot's directories.
        measured: Path of a settings file other than `MEASURED_FILE`; simulated enclaves only.
        clock: Seconds since 1970.

    Raises:
        PolicyError: Settings contradict each other, or a directory is on disk or read-only.
        EnclaveError: There is no enclave, or it is broken.
        ExtensionError: A component does not fit.
    """
    ram.forbid_core_dumps()
    paths = [directories.config, directories.work, directories.logs]
    ram.require_writable(paths)
    table, saved = _measured(measured or MEASURED_FILE), _saved(directories)
    # The file of the image decides alone who attests; the host may have written everything else.
    naming = (
        table if table is not None and measured is None else {**saved, **(table or {}), **options}
    )
    attester = _attester(str(naming.get("attester", "auto")))
    if attester.simulated and Path(NSM).exists():
        raise errors.PolicyError(
            f"a real enclave is never simulated, and {NSM} is here",
            code="attester-simulated",
            hint="leave the attester at auto",
        )
    if measured is not None and not attester.simulated:
        raise errors.PolicyError(
            f"a real enclave reads {MEASURED_FILE} and no other file, got {measured}",
            code="settings-path",
        )
    _mix(attester)
    settings = effective(measured=table, options=options, saved=saved, simulated=attester.simulated)
    sealer = registry.load_sealer(_required(settings, "sealer", "simulated:DIR"))
    if sealer.simulated and not attester.simulated:
        raise errors.PolicyError(
            "a real enclave does not seal with a simulated sealer",
            code="sealer-simulated",
            hint="name a key service with --enclave-sealer",
        )
    if IAttestedSealer.providedBy(sealer):
        cast(IAttestedSealer, sealer).attach(attester, settings)
    store = registry.load_store(_required(settings, "store", "file:/path/on/the/host"))
    if isinstance(store, NoStore) and settings.text("account_key") != "derived":
        # Each restart would make another account, and the records would lock this enclave out.
        raise errors.PolicyError(
            "nothing is stored, so a random account key would be lost at the next restart",
            code="store-none",
            hint="set account_key to derived, or name a store",
        )
    if not attester.simulated and not settings.switch("allow_disk"):
        # certbot writes keys there, and would follow a link.
        ram.require([*paths, *(directories.config / name for name in _KEYS)])
        ram.require([ram.temporary()], below=False)  # a share of the host's may be mounted there
    state = State(
        directories.config,
        store=store,
        sealer=sealer,
        attester=attester,
        beside=settings.text("staging_rehearsal"),
    )
    own_server = {**saved, **(table or {})}.get("server", "")
    return Runtime(settings, directories, attester, sealer, state, clock, str(own_server))

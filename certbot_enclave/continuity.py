# SPDX-License-Identifier: Apache-2.0
"""After a restart: what an earlier boot sealed comes back, and is used before anything is asked."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from certbot_enclave import lineages
from certbot_enclave.issuance import Issuance
from certbot_enclave.sealing.state import Mark
from certbot_enclave.thrift import book


def restore(issuance: Issuance) -> Mark:
    """Bring back account, settings and certificates, unless this boot has done so.

    Certificates that are still good are handed to the TLS server at once: no CA has to be asked.

    Returns:
        Where this boot stands; its generation is 0 if nothing was ever stored.

    Raises:
        EnclaveError: The attester is broken, or the clock is wrong.
        FormatError, VerificationError, SealError: There is a bundle, and it cannot be used.
        TransportError: Store or sealer cannot be reached.
        DeployError: A certificate cannot be handed over; everything is restored all the same.
    """
    runtime = issuance.runtime
    mark = runtime.state.mark()
    if mark is not None:
        return mark
    seen = runtime.look()
    mark = runtime.state.restore(
        seen.pcrs, expected_account=runtime.settings.text("account"), bound=runtime.bound_pcr
    )
    _deploy(issuance, frozenset())
    return mark


def refresh(issuance: Issuance) -> Mark:
    """As `restore`; and what another enclave sealed since then is taken over, and handed on.

    certbot must not run in this enclave meanwhile: what it read would change under its hands.

    Returns:
        Where this boot stands.

    Raises:
        Error: As `restore`, and as `certbot_enclave.sealing.state.State.refresh`.
    """
    runtime = issuance.runtime
    before = runtime.state.mark()
    if before is None:
        return restore(issuance)
    known = frozenset(_serials(issuance))
    mark = runtime.state.refresh(
        runtime.look().pcrs,
        expected_account=runtime.settings.text("account"),
        bound=runtime.bound_pcr,
    )
    _deploy(issuance, known)
    return mark


def ordering_elsewhere(issuance: Issuance) -> datetime | None:
    """Return until when another enclave may be ordering with this bundle, or None if none is.

    Before certbot is started, after `refresh`: then there is nothing to do, and no error.

    Raises:
        ThriftError: The ledger cannot be read (``ledger-damaged``).
        SealError: This boot has restored nothing yet (``state-unrestored``).
    """
    runtime = issuance.runtime
    return book.in_progress(runtime.directories.config, runtime.state.holder, runtime.now())


def _serials(issuance: Issuance) -> Iterator[tuple[str, int]]:
    live = issuance.runtime.directories.config / "live"
    for name, certificate in lineages.certificates(live):
        yield name, certificate.serial_number


def _deploy(issuance: Issuance, known: frozenset[tuple[str, int]]) -> None:
    """Hand on what is still good and not known yet: (certbot's name, serial number)."""
    now = datetime.fromtimestamp(issuance.runtime.clock(), UTC)
    live = issuance.runtime.directories.config / "live"
    for name, certificate in lineages.certificates(live):
        seen = (name, certificate.serial_number) in known
        if not seen and certificate.not_valid_after_utc > now:
            issuance.deploy(name, live / name / "privkey.pem", live / name / "fullchain.pem")

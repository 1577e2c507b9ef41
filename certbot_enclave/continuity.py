# SPDX-License-Identifier: Apache-2.0
"""From boot to boot, and from replica to replica: restore, seal, refresh.

What an earlier boot, or another enclave of the same image, has sealed is used before any CA is
asked for anything.
"""

from __future__ import annotations

from datetime import UTC, datetime

from certbot_enclave import errors, lineages, locks, statement, unfinished
from certbot_enclave.account import keeping, on_file
from certbot_enclave.deploy import files
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
    for name in _good(issuance):
        _deploy(issuance, name)
    return mark


def require_bundle(mark: Mark) -> None:
    """Refuse to go on from a store in which nothing was ever sealed.

    Raises:
        SealError: It holds no bundle (``bundle-missing``).
    """
    if mark.generation == 0:
        raise errors.SealError(
            "the store holds no bundle, so there is nothing to restore",
            code="bundle-missing",
            hint="at the very first boot: certbot-enclave register; "
            "otherwise the host withholds or lost it",
        )


def require_account(issuance: Issuance) -> None:
    """Refuse to start certbot in a boot that has no account: it would make another one.

    This is the one place that decides when a boot may begin without a bundle: if the account key is
    derived, it is the same as in every boot before, and so is the account.

    Raises:
        SealError: Nothing was restored or registered in this boot (``bundle-missing``).
        AccountError: As `certbot_enclave.account.on_file.keys`.
    """
    runtime = issuance.runtime
    derived = runtime.settings.text("account_key") == "derived"
    if not derived and not on_file.keys(runtime.directories.config):
        require_bundle(runtime.state.restored())


def seal(issuance: Issuance) -> tuple[Mark, bool]:
    """Seal what is in RAM now, if anything that matters is not in the store yet; ask no CA.

    Returns:
        Where this boot stands, and whether anything was written.

    Raises:
        PolicyError: There is no account (``account-missing``).
        SealError, EnclaveError, TransportError, AccountError: As `keeping.seal`.
    """
    runtime = issuance.runtime
    before = runtime.state.restored()
    server = runtime.settings.text("server")
    keeping.seal(runtime, on_file.speaking(runtime.directories.config, server))
    after = runtime.state.restored()
    return after, after.version != before.version


def refresh(issuance: Issuance, *, wait: float = locks.WAIT) -> Mark:
    """Take a newer generation if the store has one, and hand over what is good and not in place.

    Args:
        issuance: This run.
        wait: Seconds to wait for a certbot that is at work.

    Returns:
        Where this boot stands now.

    Raises:
        SealError, FormatError, VerificationError, TransportError: As `State.refresh`.
        TransportError: certbot is at work (``certbot-running``).
        DeployError: A certificate cannot be handed over; the newer generation is here all the same.
    """
    runtime = issuance.runtime
    config = runtime.directories.config
    if runtime.state.behind():
        with locks.certbots(config, wait=wait):
            runtime.state.refresh(
                runtime.look().pcrs,
                expected_account=runtime.settings.text("account"),
                bound=runtime.bound_pcr,
            )
    hand_over(issuance, wait=wait)
    return runtime.state.restored()


def hand_over(issuance: Issuance, *, wait: float = locks.WAIT) -> None:
    """Hand over what is good and not in place, because a command failed or was killed before.

    Args:
        issuance: This run.
        wait: As in `refresh`.

    Raises:
        TransportError: certbot is at work (``certbot-running``).
        DeployError: A certificate cannot be handed over.
    """
    if all(_in_place(issuance, name) for name in _good(issuance)):
        return
    # certbot hands over what it got itself; only then it is known what is missing.
    with locks.certbots(issuance.runtime.directories.config, wait=wait):
        for name in _good(issuance):
            if not _in_place(issuance, name):
                _deploy(issuance, name)


def clear_unfinished(issuance: Issuance) -> None:
    """Remove what a certbot that was killed left of a certificate that it never finished.

    Raises:
        TransportError: certbot is at work (``certbot-running``), or something cannot be removed.
    """
    config = issuance.runtime.directories.config
    if unfinished.any_in(config):
        with locks.certbots(config):
            unfinished.clear(config)


def ordering_elsewhere(issuance: Issuance) -> datetime | None:
    """Return until when another enclave may be ordering with this bundle, or None if none is.

    Before certbot is started, after `refresh`: then there is nothing to do, and no error.

    Raises:
        ThriftError: The ledger cannot be read (``ledger-damaged``).
        SealError: This boot has restored nothing yet (``state-unrestored``).
    """
    runtime = issuance.runtime
    return book.in_progress(runtime.directories.config, runtime.state.holder, runtime.now())


def renew_evidence(issuance: Issuance, *, confirm: bool) -> None:
    """Make evidence about the certificates that are here now.

    Args:
        issuance: This run.
        confirm: Ask the CA whether the account is ours; once in a process is enough.

    Raises:
        Error: As `Issuance.register`, `Issuance.glance` and `Issuance.renew_evidence`.
    """
    runtime = issuance.runtime
    if confirm:
        issuance.register(runtime.settings.text("server"), agree_tos=False)
    issuance.glance(issuance.names(runtime.settings.list("domains")))
    issuance.renew_evidence()


def evidenced(issuance: Issuance) -> int | None:
    """Return the generation that the evidence is about which is placed now; None if there is none.

    It is another one than is here if a command sealed and was killed before it made evidence; -1
    stands for evidence that cannot be read.
    """
    path = issuance.runtime.evidence_path
    if not path.exists():
        return None
    try:
        return statement.parse(statement.parse_evidence(path.read_bytes()).text).generation
    except (OSError, errors.FormatError):
        return -1


def registered(issuance: Issuance) -> bool:
    """Return whether there is an account; one that somebody is registering is none yet."""
    return bool(keeping.registered_uris(issuance.runtime.directories.config))


def _good(issuance: Issuance) -> list[str]:
    """Return the names of the certificates that are still good, and that certbot is done with."""
    runtime = issuance.runtime
    now = datetime.fromtimestamp(runtime.clock(), UTC)
    live = runtime.directories.config / "live"
    return [
        name
        for name, certificate in lineages.certificates(live)
        if certificate.not_valid_after_utc > now and lineages.whole(live, name)
    ]


def _deploy(issuance: Issuance, name: str) -> None:
    live = issuance.runtime.directories.config / "live" / name
    issuance.deploy(name, live / "privkey.pem", live / "fullchain.pem")


def _in_place(issuance: Issuance, name: str) -> bool:
    spec = issuance.runtime.settings.text("deploy")
    live = issuance.runtime.directories.config / "live" / name
    if not spec:
        return True
    try:
        key, chain = ((live / f"{kind}.pem").read_bytes() for kind in ("privkey", "fullchain"))
    except OSError:
        return False  # certbot is at work, and its lock will tell when it is done
    return files.holds(files.directory(spec), name, key=key, chain=chain)

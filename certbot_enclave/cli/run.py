# SPDX-License-Identifier: Apache-2.0
"""``certbot-enclave run -- CERTBOT ARGUMENTS``: restore, rehearse, certbot, seal, in one.

stdout is certbot's. The exit code is 0 if certbot ended with 0 and everything is sealed, and if
there is nothing to renew here because another enclave is doing it.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from certbot_enclave import cli, errors, options
from certbot_enclave.cli import certbot_arguments, inside

if TYPE_CHECKING:
    from certbot_enclave.child import Ended
    from certbot_enclave.issuance import Issuance


_TIMEOUT = "30m"  # as long as a lease allows (certbot_enclave.thrift.ledger.LONGEST_RUN)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this command."""
    parser.add_argument(
        "certbot",
        nargs="*",
        metavar="ARGUMENT",
        help=f"behind --: one of {', '.join(certbot_arguments.VERBS)}, and its options",
    )
    parser.add_argument(
        "--timeout",
        metavar="TIME",
        help="time that certbot has (default: 30m, and as long as it may wait for CAA)",
    )
    parser.add_argument("--account", metavar="URI", help="expected account; any other is an error")
    inside.add_arguments(parser)


def _failure(ended: Ended, timeout: int) -> errors.Error | None:
    if ended.timed_out:
        return errors.TransportError(
            f"certbot was not done within {timeout} seconds and was ended",
            code="certbot-timeout",
            hint="what it got until then is sealed; give it more with --timeout",
        )
    if ended.code == 0:
        return None
    how = f"exit code {ended.code}" if ended.code > 0 else f"signal {-ended.code}"
    return errors.CertbotError(f"certbot ended with {how}", code="certbot-failed")


def _interrupted(by: signal.Signals) -> int:
    print("certbot-enclave: error: interrupted", file=sys.stderr)
    return 128 + by


def _undeployed(step: Callable[[], object]) -> errors.DeployError | None:
    """Return why a certificate could not be handed over; all else of the step is done."""
    try:
        step()
    except errors.DeployError as error:
        return error
    return None


def _wanted(issuance: Issuance, words: Sequence[str]) -> list[frozenset[str]]:
    """Return the names of each certificate that certbot is about to order, where that is known."""
    from certbot_enclave import lineages

    if words[0] not in ("certonly", "run", "renew") or certbot_arguments.is_trial(words):
        return []
    live = issuance.runtime.directories.config / "live"
    named = certbot_arguments.names(words) if words[0] != "renew" else None
    if named:
        return [issuance.names(named)]
    only = certbot_arguments.certificate(words)
    found = [
        lineages.dns_names(certificate)
        for name, certificate in lineages.certificates(live)
        if name == only or (only is None and words[0] == "renew")
    ]
    return [names for names in found if names]


def _rehearse(
    issuance: Issuance, words: Sequence[str], environ: Mapping[str, str], timeout: int
) -> signal.Signals | None:
    """Try at the staging directory what this image has not tried there, and seal that it can.

    Returns:
        The signal that ended it, or None.

    Raises:
        CertbotError: It did not succeed (``rehearsal-failed``).
        Error: As `continuity.seal`.
    """
    from certbot_enclave import child, continuity, rehearsal

    staging = issuance.runtime.settings.text("staging_rehearsal")
    missing = rehearsal.missing(issuance.runtime, _wanted(issuance, words)) if staging else []
    if not missing:
        return None
    inside.progress(f"rehearsing at {staging}")
    ended = child.run(certbot_arguments.rehearsing(words, staging), environ, timeout=timeout)
    if ended.passed is not None:
        return ended.passed
    failure = _failure(ended, timeout)
    if failure is not None:
        raise errors.CertbotError(
            f"the rehearsal at {staging} did not succeed: {failure}",
            code="rehearsal-failed",
            hint="nothing was ordered; certbot printed above what is wrong, and the next run "
            "rehearses again",
        ) from failure
    rehearsal.remember(issuance.runtime, missing)
    continuity.seal(issuance)
    return None


def run(args: argparse.Namespace) -> int:
    """Restore what is stored, let certbot work, and seal what there is then."""
    from certbot_enclave import child, continuity, locks, settings

    if args.timeout is not None and not settings.seconds(args.timeout):
        raise errors.PolicyError("--timeout needs a time, such as 30m", code="setting-invalid")
    places = inside.directories(args)
    given = options.read(
        lambda name: None if name in options.OF_CERTBOT else getattr(args, name, None)
    )
    if args.settings:
        given["settings"] = args.settings
    words = certbot_arguments.build(
        args.certbot,
        directories={
            "config-dir": places.config,
            "work-dir": places.work,
            "logs-dir": places.logs,
        },
        options=given,
    )
    timeout = settings.seconds(args.timeout or _TIMEOUT)
    if args.timeout is None:
        timeout += certbot_arguments.wait(words)
    issuance = inside.start(args)
    with locks.ours(places.config):
        undeployed = _undeployed(lambda: continuity.restore(issuance))
        issuance = inside.start(args)  # the bundle may have brought settings
        before = issuance.runtime.state.restored()
        # What cannot be sealed is not ordered: without the store, or behind it, nothing starts.
        undeployed = _undeployed(lambda: continuity.refresh(issuance)) or undeployed
        if undeployed is not None:
            cli.complain(undeployed)  # perhaps certbot has a better certificate soon
        continuity.require_account(issuance)
        until = continuity.ordering_elsewhere(issuance) if words[0] == "renew" else None
        if until is not None:
            print(f"another enclave is renewing, until {until:%Y-%m-%dT%H:%M:%SZ} at the latest")
            return 0 if undeployed is None else cli.exit_code(undeployed)
        continuity.clear_unfinished(issuance)
        after = issuance.runtime.state.restored()
        # Or it was taken by a run that was killed before there was evidence about it.
        taken = after != before or continuity.evidenced(issuance) not in (None, after.generation)
        roots = issuance.runtime.settings.text("ca_roots")
        environ = child.environment(os.environ, roots)
        ending = _rehearse(issuance, words, environ, timeout)
        if ending is not None:
            return _interrupted(ending)
        ended = child.run(words, environ, timeout=timeout)
        failure = _failure(ended, timeout)
        try:
            continuity.seal(issuance)
            if taken and continuity.registered(issuance):
                continuity.renew_evidence(issuance, confirm=True)
        except errors.Error as error:
            if failure is None:
                raise
            if error.code not in ended.told:
                cli.complain(error)
            failure.hint = "what certbot got is not sealed; run it again when that is mended"
    if ended.passed is not None:
        return _interrupted(ended.passed)
    if failure is not None:
        raise failure
    return 0 if undeployed is None else cli.exit_code(undeployed)

# SPDX-License-Identifier: Apache-2.0
"""Evidence that is renewed before the certificate behind it ends.

The leaf certificate of a Nitro document lives for three hours, and the hardware replaces it a
quarter of an hour before its end (measured by others; AWS documents neither). Evidence is renewed
then: whoever wants a document whose certificates are valid today always finds one.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from cryptography import x509

from certbot_enclave import errors, statement
from certbot_enclave.attestation import cose, document

BEFORE_END = 15 * 60.0  # seconds
LEAST = 60.0  # seconds between two documents, whatever their certificates say
RETRY, MOST = 60.0, 15 * 60.0  # seconds after the first failure, doubled up to this


def ends(evidence: bytes) -> float:
    """Return when the leaf certificate of the enclave's own evidence ends, seconds since 1970."""
    raw = statement.parse_evidence(evidence).document
    leaf = document.parse(cose.parse(raw).payload).certificate
    return x509.load_der_x509_certificate(leaf).not_valid_after_utc.timestamp()


def watch(
    renew: Callable[[], bytes],
    *,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    report: Callable[[str], None],
) -> None:
    """Renew evidence for ever.

    After a failure the old evidence stays, and another try follows after a minute, then two, and so
    on up to a quarter of an hour. The first try may not fail: its error is the caller's.

    Args:
        renew: Makes and stores evidence, and returns it.
        clock: Seconds since 1970.
        sleep: Waits for so many seconds.
        report: Takes a line about each try.

    Raises:
        Error: What the first `renew` raised.
    """
    pause, retry = _pause(renew(), clock, report), RETRY
    while True:
        sleep(pause)
        try:
            pause, retry = _pause(renew(), clock, report), RETRY
        except errors.Error as error:
            report(f"evidence is not renewed, trying again in {retry:.0f} seconds: {error}")
            pause, retry = retry, min(2 * retry, MOST)


def _pause(evidence: bytes, clock: Callable[[], float], report: Callable[[str], None]) -> float:
    end = ends(evidence)
    pause = max(end - BEFORE_END - clock(), LEAST)
    next_one = datetime.fromtimestamp(clock() + pause, UTC)
    report(f"evidence is renewed, the next one comes at {next_one:%Y-%m-%dT%H:%M:%SZ}")
    return pause

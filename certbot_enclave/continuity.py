# SPDX-License-Identifier: Apache-2.0
"""After a restart: what an earlier boot sealed comes back, and is used before anything is asked."""

from __future__ import annotations

from datetime import UTC, datetime

from certbot_enclave import lineages
from certbot_enclave.issuance import Issuance
from certbot_enclave.sealing.state import Mark


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
    now = datetime.fromtimestamp(runtime.clock(), UTC)
    live = runtime.directories.config / "live"
    for name, certificate in lineages.certificates(live):
        if certificate.not_valid_after_utc > now:
            issuance.deploy(name, live / name / "privkey.pem", live / name / "fullchain.pem")
    return mark

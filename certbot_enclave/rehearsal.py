# SPDX-License-Identifier: Apache-2.0
"""Rehearsals at a staging directory, before the enclave's own directory is asked for anything.

The setting ``staging_rehearsal`` names it. The enclave has an account of its own there, sealed in
the same bundle, and CAA has to allow both: they share the issuer's name. Each image rehearses once
for each set of names.
"""

from __future__ import annotations

from collections.abc import Iterable

from certbot_enclave import errors, rehearsed
from certbot_enclave.account import on_file
from certbot_enclave.account.ca import origin
from certbot_enclave.rehearsed import Entry
from certbot_enclave.runtime import Runtime
from certbot_enclave.sealing import tree
from certbot_enclave.settings import Settings


def _place(url: str) -> str:
    return origin(url).removesuffix(":443")


def check(settings: Settings) -> None:
    """Refuse a setting that cannot work.

    Raises:
        PolicyError: It is no https URL (``directory-url``), or at the origin of ``server``, where
            a staging account could get real certificates (``rehearsal-origin``).
    """
    staging, server = settings.text("staging_rehearsal"), settings.text("server")
    if staging and server and _place(staging) == _place(server):
        raise errors.PolicyError(
            f"staging_rehearsal is {staging}, and server is at the same place: {server}",
            code="rehearsal-origin",
            hint="name the CA's staging directory, and as server the one that browsers trust",
        )
    if staging:
        origin(staging)


def held_beside(runtime: Runtime, server: str) -> frozenset[str]:
    """Return the URI of the account that this enclave holds at the other of its two directories.

    Args:
        runtime: This run.
        server: The directory that CAA is judged for.

    Returns:
        Nothing without a rehearsal, for any third directory, and while there is no such account.

    Raises:
        AccountError: As `on_file.uri_at`.
    """
    staging = runtime.settings.text("staging_rehearsal")
    own = runtime.own_server or runtime.settings.text("server")
    other = {own: staging, staging: own}.get(server)
    if not staging or not other:
        return frozenset()
    uri = on_file.uri_at(runtime.directories.config, other)
    return frozenset({uri} if uri is not None else ())


def _known(runtime: Runtime) -> tuple[Entry, ...]:
    path = runtime.directories.config / rehearsed.PATH
    try:
        with path.open("rb") as file:
            return rehearsed.parse(file.read(rehearsed.MAX_FILE + 1))
    except (OSError, errors.FormatError):
        return ()  # then everything is rehearsed once more


def missing(runtime: Runtime, wanted: Iterable[frozenset[str]]) -> list[frozenset[str]]:
    """Return those sets of names that this image has not rehearsed; none without the setting.

    Raises:
        EnclaveError: The attester is broken, or the clock is wrong.
    """
    staging, sets = runtime.settings.text("staging_rehearsal"), list(wanted)
    if not staging or not sets:
        return []
    code = rehearsed.image(runtime.look().pcrs, runtime.bound_pcr)
    entries = _known(runtime)
    return [names for names in sets if not rehearsed.known(entries, staging, code, names)]


def require(runtime: Runtime, server: str, names: frozenset[str]) -> None:
    """Refuse an order of names that were not rehearsed.

    Args:
        runtime: This run; what is stored was restored.
        server: Where they are to be ordered.
        names: Of one certificate.

    Raises:
        ThriftError: They were not (``rehearsal-missing``).
        EnclaveError: As `missing`.
    """
    if server != runtime.settings.text("staging_rehearsal") and missing(runtime, [names]):
        raise errors.ThriftError(
            f"{', '.join(sorted(names))} was not rehearsed by this image at "
            f"{runtime.settings.text('staging_rehearsal')}",
            code="rehearsal-missing",
            hint="order with certbot-enclave run -- certonly -d NAME …: it rehearses first",
        )


def remember(runtime: Runtime, succeeded: Iterable[frozenset[str]]) -> None:
    """Note that these sets of names were rehearsed; whoever seals next stores it.

    Raises:
        EnclaveError: As `missing`.
        SealError, TransportError: It cannot be written.
    """
    code = rehearsed.image(runtime.look().pcrs, runtime.bound_pcr)
    entries = _known(runtime)
    for names in succeeded:
        new = Entry(
            runtime.settings.text("staging_rehearsal"), code, tuple(sorted(names)), runtime.now()
        )
        entries = rehearsed.added(entries, new)
    file = tree.File(rehearsed.PATH, 0o600, rehearsed.build(entries))
    tree.restore(runtime.directories.config, [file])

# SPDX-License-Identifier: Apache-2.0
"""A replica that stays on the newest generation in the store (``certbot-enclave follow``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from certbot_enclave import continuity, errors, locks
from certbot_enclave.issuance import Issuance
from certbot_enclave.sealing.state import Mark


class Taken(NamedTuple):
    """What one round did.

    Attributes:
        generation: Where this boot stands now.
        before: Where it stood; 0 for nothing.
    """

    generation: int
    before: int


class Follower:
    """Looks at the store, and takes what is newer.

    Args:
        start: Starts a run; called again when a bundle has brought other settings.
    """

    def __init__(self, start: Callable[[], Issuance]) -> None:
        self._start = start
        self._issuance = start()
        self._confirmed = False  # by the CA, that the account is ours
        self._unsealed = False

    def look(self, *, wait: float = locks.WAIT) -> Taken:
        """Take and deploy what is newer in the store, then renew evidence.

        A CA is asked at most once in this process: whether the account is ours, for evidence.

        Args:
            wait: Seconds to wait for a certbot that is at work here.

        Raises:
            Error: As `continuity.restore`, `continuity.refresh`, `continuity.ordering_elsewhere`
                and `continuity.seal`. What was done before the error stays done, and the next call
                does the rest.
        """
        state = self._issuance.runtime.state
        known = state.mark()
        before = known.generation if known else 0
        with locks.ours(state.config_dir, wait=wait):
            after = self._caught_up(known, wait)
        # Whoever took it may have been killed, or failed, before there was evidence about it.
        owed = continuity.evidenced(self._issuance) != after.generation
        if owed and continuity.registered(self._issuance):
            continuity.renew_evidence(self._issuance, confirm=not self._confirmed)
            self._confirmed = True
        return Taken(after.generation, before)

    def _caught_up(self, known: Mark | None, wait: float) -> Mark:
        if known is None:
            known = continuity.restore(self._issuance)
            self._start_again_if_changed()
        mark = continuity.refresh(self._issuance, wait=wait)
        if mark != known:
            self._unsealed = True
            self._start_again_if_changed()
        continuity.require_bundle(mark)
        if self._unsealed and continuity.ordering_elsewhere(self._issuance) is None:
            # What only this enclave has, since another was faster to seal something, is kept. It
            # waits for the end of another's lease, who could not seal what it ordered otherwise.
            mark, _ = continuity.seal(self._issuance)
            self._unsealed = False
        return mark

    def _start_again_if_changed(self) -> None:
        fresh = self._start()
        now, then = fresh.runtime, self._issuance.runtime
        if (now.settings, now.own_server) != (then.settings, then.own_server):
            self._issuance, self._confirmed = fresh, False


def follow(
    look: Callable[[], Taken],
    *,
    pause: float,
    wait: Callable[[float], bool],
    report: Callable[[Taken], None],
    complain: Callable[[str], None],
) -> None:
    """Look again and again until told to stop.

    A round that fails says so once, and again only when it fails otherwise or works again: the
    certificate that is there keeps serving.

    Args:
        look: One round.
        pause: Seconds between rounds.
        wait: Waits for so many seconds; returns True to stop.
        report: Takes what a round took.
        complain: Takes a line about a change of state.
    """
    said = ""
    while True:
        try:
            taken = look()
            if said:
                complain("the store is followed again")
            said = ""
            if taken.generation != taken.before:
                report(taken)
        except errors.Error as error:
            if error.code != said:
                complain(f"not following ({error.code}): {error}")
            said = error.code
        if wait(pause):
            return

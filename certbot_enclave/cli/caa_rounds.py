# SPDX-License-Identifier: Apache-2.0
"""The rounds of ``caa watch``: each looks at every name, tells what changed, and keeps the rest."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from certbot_enclave import cli, errors
from certbot_enclave.cli import caa_judging, caa_memory, caa_names, outside

if TYPE_CHECKING:
    from certbot_enclave.caa.drift import Event, Known, Look
    from certbot_enclave.cli.caa_judging import Judged
    from certbot_enclave.cli.caa_metrics import Publisher


class Snapshot(NamedTuple):
    """What the rounds so far have told.

    Attributes:
        known: By name.
        fresh: False before the first round, and after one that failed as a whole.
        rounds: How many were completed.
        failures: How many rounds failed, or could not write a file.
        duration: Of the last completed one, in seconds; or None.
        ended: When it was completed; aware; or None.
    """

    known: Mapping[str, Known]
    fresh: bool = False
    rounds: int = 0
    failures: int = 0
    duration: float | None = None
    ended: datetime | None = None


class _Found(NamedTuple):
    """One look at a name, and all that is said of it."""

    look: Look
    judged: Judged
    simulated: bool


def failure(error: errors.Error) -> str:
    """Return an error as a line of JSON."""
    table = {
        "event": "failure",
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "error": str(error),
        "code": error.code,
        "hint": error.hint,
    }
    return json.dumps(table, sort_keys=True)


class Rounds:
    """Looks at all names, and remembers.

    Args:
        args: The options of ``caa watch``.
        known: What is remembered from before.
        publisher: Shows each snapshot, if there is one.
        clock: Seconds.

    Attributes:
        snapshot: What is known now.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        known: Mapping[str, Known],
        publisher: Publisher | None,
        clock: Callable[[], float],
    ) -> None:
        self._args, self._publisher, self._clock = args, publisher, clock
        self._told: Mapping[str, None] = {}
        self.snapshot = Snapshot(known)

    async def look(self) -> int:
        """Make a round; whatever fails, what is published says so.

        Returns:
            The exit code of ``caa check``.

        Raises:
            PolicyError: As `caa_judging.start` and `caa_judging.each`; there are no names
                (``names-missing``); they are too many to remember (``watch-state-size``).
            FormatError: The policy is malformed.
            TransportError: A file cannot be read, or not be written (``file-…``).
        """
        try:
            return await self._round()
        except errors.Error:
            self.snapshot = self.snapshot._replace(failures=self.snapshot.failures + 1)
            with contextlib.suppress(errors.Error):
                self._publish()
            raise

    def failed(self, error: errors.Error) -> None:
        """Tell that a round failed, where that is not the end."""
        cli.complain(error)
        if self._args.json:
            print(failure(error), flush=True)

    async def _round(self) -> int:
        from certbot_enclave.caa import assessment, drift

        begun, before = self._clock(), self.snapshot
        self.snapshot = before._replace(fresh=False)
        found = await self._looks()
        ended = datetime.now(UTC)
        looks = [look for look, _, _ in found.values()]
        known, events = drift.compare(before.known, looks, at=ended)
        for event in events:
            self._tell(event, found.get(event.name))
        duration = self._clock() - begun
        self.snapshot = Snapshot(known, True, before.rounds + 1, before.failures, duration, ended)
        if self._args.state is not None:
            # After it was told: rather twice than never.
            outside.replace(self._args.state, caa_memory.build(known), mode=0o600)
        self._publish()
        return assessment.worst(look.code for look in looks)

    async def _looks(self) -> dict[str, _Found]:
        """Look at every name; of a name that is there twice, keep the worse."""
        from certbot_enclave.caa import drift

        names = caa_names.chosen(self._args)
        run = caa_judging.start(self._args, told=self._told)
        found: dict[str, _Found] = {}
        try:
            async for judged in caa_judging.each(run, names):
                look = drift.look(judged.found, judged.at)
                other = found.get(look.name)
                if drift.worse(look, other and other.look):
                    found[look.name] = _Found(look, judged, run.simulated)
        finally:
            self._told = run.said
        if not found:
            raise errors.PolicyError(
                f"{self._args.file} has no names", code="names-missing", hint="name one at least"
            )
        return found

    def _tell(self, event: Event, found: _Found | None) -> None:
        if not self._args.json:
            print(event.text(), flush=True)
            return
        result = None
        if found is not None:
            result = caa_judging.table(found.judged, simulated=found.simulated)
        print(json.dumps({**event.table(), "result": result}, sort_keys=True), flush=True)

    def _publish(self) -> None:
        if self._publisher is not None:
            self._publisher.publish(self.snapshot)

# SPDX-License-Identifier: Apache-2.0
"""Verdicts for many names: the same climb and the same rules, with many questions on the way.

This is the second driver of `lookup.Climbing`, on asyncio; the first is `lookup.climb`, which the
gate uses. Only ``certbot-enclave caa`` imports it. Within one run each name is asked about
once, so that thousands of names below one parent cost little more than themselves; time on the
way to a resolver is shared by as many questions as may be open at once. Memory does not grow with
the number of names: what is kept for others, and what waits to be taken, is bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, TypeVar

from certbot_enclave import errors
from certbot_enclave.caa import agreement, authoritative, failures, lookup, verdict
from certbot_enclave.caa.agreement import Compared
from certbot_enclave.caa.channels import Datagrams, Streams
from certbot_enclave.caa.direct import Direct
from certbot_enclave.caa.kept import Kept
from certbot_enclave.caa.lookup import Answer, Climb
from certbot_enclave.caa.question import Query, Question
from certbot_enclave.caa.resolvers import TRIES, DnsResolver, parse, read
from certbot_enclave.caa.verdict import Subject, Tolerance, Verdict

if TYPE_CHECKING:
    from dns.message import Message

OPEN = 128  # questions on the way to one resolver
NAMES = 256  # names in progress, or done and waiting for one before them
KEPT = 2048  # answers, in progress or done
AHEAD = 1  # parents that are asked about with the name: one is, for the covering wildcard

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Line:
    """Asks one resolver."""

    def __init__(self, resolver: DnsResolver) -> None:
        self.resolver = resolver
        self._datagrams = Datagrams(resolver)
        self._streams = Streams(resolver)
        self._open = asyncio.Semaphore(OPEN)

    async def ask(self, name: str) -> Answer:
        """Ask as `DnsResolver.ask` does."""
        failure = "no try was made"
        async with self._open:
            for turn in range(TRIES):
                try:
                    async with asyncio.timeout(self.resolver.timeout):
                        answer = await self._exchange(Question(name), alone=turn > 0)
                    return read(name, self.resolver.label, answer)
                except failures.kinds() as error:
                    failure, again = failures.explain(error, self.resolver.timeout)
                    if not again:
                        break
        return Answer(name, self.resolver.label, failure=failure)

    async def _exchange(self, query: Query, *, alone: bool) -> Message:
        import dns.message

        if self.resolver.tls_name is None:
            try:
                return parse(query, await self._datagrams.ask(query), raise_on_truncation=True)
            except dns.message.Truncated:
                pass
        asking = self._streams.ask_alone if alone else self._streams.ask
        return await asking(query)

    async def close(self) -> None:
        self._datagrams.close()
        await self._streams.close()


@dataclass(frozen=True)
class Looked:
    """What was found about one name.

    Attributes:
        verdict: As `verdict.judge_name` has it, or `verdict.unknown`.
        own: Its climb; None if a lookup failed.
        above: The climb from the parent of the place where `own` ended, if that name is open
            though it has records, and the lookup worked; None otherwise.
        compared: What the servers of its zones serve; None if they were not asked.
    """

    verdict: Verdict
    own: Climb | None = None
    above: Climb | None = None
    compared: Compared | None = None


class Bulk:
    """One run's questions. Use it as an asynchronous context.

    Args:
        resolvers: All must agree.
        kept: How many answers are kept for names that share parents.
        authoritative: Ask every server of the names' zones as well.
        port: Of those servers.
        askable: Whether an address of theirs may be asked.
    """

    def __init__(
        self,
        resolvers: Sequence[DnsResolver],
        *,
        kept: int = KEPT,
        authoritative: bool = False,
        port: int = authoritative.PORT,
        askable: Callable[[str], bool] = authoritative.askable,
    ) -> None:
        self._resolvers = tuple(resolvers)
        self._labels = tuple(resolver.label for resolver in resolvers)
        self._lines: list[_Line] = []
        self._answers = Kept(self._ask, kept)
        self._above: dict[str, Climb] = {}  # from parents, which many names share
        self._kept = kept
        self._direct: Direct | None = None
        if authoritative:
            longest = max(resolver.timeout for resolver in self._resolvers)
            self._direct = Direct(
                self._told, port=port, askable=askable, timeout=longest, kept=kept
            )
        self.asked = 0

    async def __aenter__(self) -> Bulk:
        self._lines = [_Line(resolver) for resolver in self._resolvers]
        return self

    async def __aexit__(self, *_error: object) -> None:
        if self._direct is not None:
            await self._direct.close()
        await self._answers.close()
        for line in self._lines:
            await line.close()
        await asyncio.sleep(0)  # the loop closes what was aborted in its next turn

    async def _ask(self, name: str) -> tuple[Answer, ...]:
        self.asked += 1
        if len(self._lines) == 1:
            return (await self._lines[0].ask(name),)
        return tuple(await asyncio.gather(*(line.ask(name) for line in self._lines)))

    def _answer(self, name: str) -> asyncio.Task[tuple[Answer, ...]]:
        """Return the answers to a question, asked now, before, or in progress."""
        return self._answers.task(name)

    async def _told(self, name: str, kind: str) -> tuple[str, ...]:
        """Return what all resolvers together say where the servers of a zone are.

        Raises:
            TransportError: One has no usable answer (``lookup-failed``).
        """
        found = await asyncio.gather(*(self._told_by(line, name, kind) for line in self._lines))
        return tuple(dict.fromkeys(item for part in found for item in part))

    async def _told_by(self, line: _Line, name: str, kind: str) -> tuple[str, ...]:
        label, timeout, failure = line.resolver.label, line.resolver.timeout, "no try was made"
        async with line._open:
            for turn in range(TRIES):
                try:
                    async with asyncio.timeout(timeout):
                        query = authoritative.told_question(name, kind)
                        answer = await line._exchange(query, alone=turn > 0)
                    return authoritative.told(name, kind, label, answer)
                except failures.kinds() as error:
                    failure, again = failures.explain(error, timeout)
                    if not again:
                        break
        raise authoritative.unknown(
            f"{label} could not tell the {kind} records of {name}: {failure}"
        )

    async def climb(self, name: str) -> Climb:
        """Climb as `lookup.climb` does.

        Raises:
            TransportError, GateError: As `Climbing.feed`.
        """
        labels = name.split(".")
        for level in range(min(len(labels), 1 + AHEAD)):
            self._answer(".".join(labels[level:]))
        climbing = lookup.Climbing(name, self._labels)
        while (asking := climbing.question) is not None:
            task = self._answer(asking)
            # Another name may wait for the same answer.
            climbing.feed(task.result() if task.done() else await asyncio.shield(task))
        return climbing.result

    async def _climb_above(self, name: str) -> Climb:
        """Climb from a parent, once."""
        found = self._above.get(name)
        if found is None:
            found = await self.climb(name)
            if len(self._above) >= self._kept:
                self._above.clear()
            self._above[name] = found
        return found

    async def judge(
        self, name: str, subject: Subject, tolerance: Tolerance, *, today: date
    ) -> Looked:
        """Look up and judge one name; a lookup that fails is a verdict too.

        Args:
            name: From `verdict.check_name`.
            subject: Who may issue.
            tolerance: What the owner accepts.
            today: As in `verdict.judge_name`.
        """
        climbs: dict[str, Climb] = {}
        try:
            base, *parents = verdict.looked_at(name)
            climbs[base] = await self.climb(base)
            for parent in parents:
                climbs[parent] = await self._climb_above(parent)
            found = verdict.judge_name(name, subject, tolerance, climbs.__getitem__, today=today)
        except (errors.TransportError, errors.GateError) as error:
            return Looked(verdict.unknown(name, error, self._labels))
        compared = None
        if self._direct is not None:
            compared = await self._direct.compare(climbs.values())
            found = agreement.weigh(found, compared)
            if found.failure is not None:
                return Looked(found, compared=compared)
        own = climbs[name.removeprefix("*.")]
        above = None
        if found.findings and own.found_at is not None and "." in own.found_at:
            try:
                above = await self.climb(own.found_at.partition(".")[2])
            except (errors.TransportError, errors.GateError):
                above = None  # the verdict stands without it
        return Looked(found, own, above, compared)


async def in_order(
    items: Iterable[Item], work: Callable[[Item], Awaitable[Result]], *, limit: int = NAMES
) -> AsyncIterator[Result]:
    """Work on several items at once; yield the results in the order of the items.

    Args:
        items: Taken one by one, when there is room.
        work: Does one.
        limit: How many at once.
    """

    async def one(item: Item) -> Result:
        return await work(item)

    tasks: deque[asyncio.Task[Result]] = deque()
    try:
        for item in items:
            tasks.append(asyncio.create_task(one(item)))
            if len(tasks) >= limit:
                yield await tasks.popleft()
        while tasks:
            yield await tasks.popleft()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

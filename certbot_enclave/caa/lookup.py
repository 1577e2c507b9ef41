# SPDX-License-Identifier: Apache-2.0
"""The climb of RFC 8659 §3: which record set is relevant for a name.

`Climbing` is a state machine without I/O: it says which name to ask about next and is fed what each
resolver answered. `climb` is the plain synchronous driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from certbot_enclave import errors
from certbot_enclave.caa.grammar import Record


@dataclass(frozen=True)
class Answer:
    """What one resolver said about one name.

    Attributes:
        name: The name asked about.
        resolver: Who answered.
        records: The CAA records; empty for an authenticated or plain "there are none".
        authenticated: The resolver says that DNSSEC holds, for a denial too.
        aliases: Every name that CNAME or DNAME led to, in order.
        failure: Why there is no usable answer, or None.
        ttl: Seconds for which the resolver keeps it, aliases included; None without records.
        synthesized: A DNS wildcard has the records, as far as signatures tell (RFC 4034 §3.1.3).
        signed_ttl: TTL that the zone signed (RFC 4034 §3.1.4), of which `ttl` may be what is left;
            None without records or signatures.
    """

    name: str
    resolver: str
    records: tuple[Record, ...] = ()
    authenticated: bool = False
    aliases: tuple[str, ...] = ()
    failure: str | None = None
    ttl: int | None = field(default=None, compare=False)
    synthesized: bool = field(default=False, compare=False)
    signed_ttl: int | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Step:
    """What all resolvers agreed on about one name; of their TTLs, the longest."""

    name: str
    records: tuple[Record, ...]
    authenticated: bool
    aliases: tuple[str, ...]
    ttl: int | None = field(default=None, compare=False)
    synthesized: bool = field(default=False, compare=False)
    signed_ttl: int | None = field(default=None, compare=False)

    @property
    def owner(self) -> str:
        """Whose records they are: the name itself, or the end of its aliases."""
        return self.aliases[-1] if self.aliases else self.name


@dataclass(frozen=True)
class Climb:
    """The end of a climb.

    Attributes:
        name: Where it began.
        found_at: Whose record set is relevant; None if there is none up to the TLD.
        records: That record set, sorted; empty if there is none.
        steps: Every name asked about, in order.
        resolvers: Who was asked.
    """

    name: str
    found_at: str | None
    records: tuple[Record, ...]
    steps: tuple[Step, ...]
    resolvers: tuple[str, ...]


class Resolver(Protocol):
    """Asks one validating resolver."""

    @property
    def label(self) -> str:
        """Name for verdicts and errors."""

    def ask(self, name: str) -> Answer:
        """Ask for the CAA records of a name; what goes wrong is in `Answer.failure`."""


def _longest(ttls: Iterable[int | None]) -> int | None:
    return max((ttl for ttl in ttls if ttl is not None), default=None)


class Climbing:
    """One climb in progress.

    Args:
        name: Lower-case A-labels without a wildcard or trailing dot.
        resolvers: Labels of those who will be asked; at least one.
    """

    def __init__(self, name: str, resolvers: Sequence[str]) -> None:
        if not resolvers:
            raise ValueError("at least one resolver is needed")
        self._name = name
        self._resolvers = tuple(resolvers)
        self._steps: list[Step] = []
        self._question: str | None = name

    @property
    def question(self) -> str | None:
        """The name to ask about now; None when the climb is over."""
        return self._question

    def feed(self, answers: Sequence[Answer]) -> None:
        """Take one answer from each resolver about the question.

        Raises:
            TransportError: One has no usable answer (``lookup-failed``).
            GateError: They disagree (``servers-disagree``).
        """
        if [(answer.name, answer.resolver) for answer in answers] != [
            (self._question, label) for label in self._resolvers
        ]:
            raise ValueError("answers are not those to the question")
        for answer in answers:
            if answer.failure is not None:
                raise errors.TransportError(
                    f"{answer.resolver} could not tell the CAA records of {answer.name}: "
                    f"{answer.failure}",
                    code="lookup-failed",
                    hint="a lookup that fails is never permission; try again, "
                    "or mend the zone or the resolver",
                )
        first = answers[0]
        for answer in answers[1:]:
            if (set(answer.records), answer.aliases) != (set(first.records), first.aliases):
                raise errors.GateError(
                    f"{first.resolver} and {answer.resolver} disagree about {answer.name}",
                    code="servers-disagree",
                    hint="if the records were changed just now, wait for the old TTL",
                )
        step = Step(
            first.name,
            tuple(sorted(first.records)),
            all(answer.authenticated for answer in answers),
            first.aliases,
            _longest(answer.ttl for answer in answers),
            any(answer.synthesized for answer in answers),
            _longest(answer.signed_ttl for answer in answers),
        )
        self._steps.append(step)
        # The parent of the name itself, never of an alias's target (RFC 8659 §3).
        parent = step.name.partition(".")[2]
        self._question = None if step.records or not parent else parent

    @property
    def result(self) -> Climb:
        """The end of the climb."""
        if self._question is not None:
            raise ValueError("the climb is not over")
        last = self._steps[-1]
        return Climb(
            self._name,
            last.name if last.records else None,
            last.records,
            tuple(self._steps),
            self._resolvers,
        )


def climb(name: str, resolvers: Sequence[Resolver]) -> Climb:
    """Climb from a name to its relevant record set, asking every resolver at each step.

    Raises:
        TransportError, GateError: As `Climbing.feed`.
    """
    climbing = Climbing(name, [resolver.label for resolver in resolvers])
    while (question := climbing.question) is not None:
        climbing.feed([resolver.ask(question) for resolver in resolvers])
    return climbing.result

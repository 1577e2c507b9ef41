# SPDX-License-Identifier: Apache-2.0
"""Counts, logs, stall points and faults: what a test sees of the CA and does to it."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

RESOURCES = {
    "directory",
    "newNonce",
    "newAccount",
    "account",
    "orders",
    "newOrder",
    "order",
    "authz",
    "challenge",
    "finalize",
    "certificate",
    "renewalInfo",
    "revokeCert",
    "keyChange",
}
PHASES = {"before", "after"}
LOOK_AGAIN = 0.02  # seconds between looks at a stalled client's connection
LOG_LENGTH = 10_000


@dataclass
class Rule:
    """Do something to the next ``times`` requests of one resource, at one phase."""

    resource: str
    phase: str = "before"
    times: int = 1

    def __post_init__(self) -> None:
        """Refuse what would never apply."""
        if self.resource not in RESOURCES or self.phase not in PHASES or self.times < 1:
            raise ValueError(f"resource, phase and times expected, got {self}")


@dataclass
class Fault(Rule):
    """Answer with an error instead.

    Attributes:
        status: HTTP status code; 0 closes the connection without an answer.
        type: Name of the problem, without the urn prefix.
        detail: Text of the problem.
        headers: Further header fields, such as Retry-After.
        body: If given, sent as it is in place of the problem document.
        content_type: Goes with ``body``.
    """

    status: int = 500
    type: str = "serverInternal"
    detail: str = "fault injected by the test"
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    content_type: str = "application/json"


R = TypeVar("R", bound=Rule)


class Control:
    """Shared between the server's threads and the control port."""

    def __init__(self, stall_limit: float = 120.0) -> None:
        self._changed = threading.Condition()
        self._stall_limit = stall_limit
        self._stalls: list[Rule] = []
        self._faults: list[Fault] = []
        self._reached: deque[dict[str, Any]] = deque()
        self._release = threading.Event()
        self.requests: Counter[str] = Counter()
        self.events: Counter[str] = Counter()
        self.log: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)
        self.caa_log: deque[dict[str, Any]] = deque(maxlen=LOG_LENGTH)

    def add_stall(self, rule: Rule) -> None:
        """Stop the next requests of a resource."""
        with self._changed:
            self._stalls.append(rule)

    def add_fault(self, fault: Fault) -> None:
        """Spoil the next requests of a resource."""
        with self._changed:
            self._faults.append(fault)

    def clear(self) -> None:
        """Forget stall points and faults that have not been reached."""
        with self._changed:
            self._stalls.clear()
            self._faults.clear()

    def take_fault(self, resource: str, phase: str) -> Fault | None:
        """The fault that applies to this request, used up by one."""
        with self._changed:
            return _take(self._faults, resource, phase)

    def hold(self, resource: str, phase: str, gone: Callable[[], bool]) -> bool:
        """Wait at a stall point, if there is one here.

        Args:
            resource: Resource of the request.
            phase: ``before`` or ``after`` the request is processed.
            gone: Tells whether the client has closed its connection.

        Returns:
            False if the client went away, or nobody released it within the limit.
        """
        with self._changed:
            if _take(self._stalls, resource, phase) is None:
                return True
            release = self._release
            self._reached.append({"resource": resource, "phase": phase})
            self._changed.notify_all()
        for _ in range(int(self._stall_limit / LOOK_AGAIN)):
            released = release.wait(LOOK_AGAIN)
            if gone():  # looked at first: who kills the client, then releases, means it dead
                return False
            if released:
                return True
        return False

    def wait_stalled(self, timeout: float) -> dict[str, Any] | None:
        """The next stall that nobody was told of yet, or None if none comes in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._reached), timeout):
                return None
            return self._reached.popleft()

    def release(self) -> None:
        """Let every request go on that is stalled now."""
        with self._changed:
            self._release.set()
            self._release = threading.Event()


def _take(rules: list[R], resource: str, phase: str) -> R | None:
    for rule in rules:
        if (rule.resource, rule.phase) == (resource, phase):
            rule.times -= 1
            if rule.times == 0:
                rules.remove(rule)
            return rule
    return None

# SPDX-License-Identifier: Apache-2.0
"""What is asked once for all names that need it: tasks by key, the latest of them kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


class Kept(Generic[Key, Value]):
    """Answers, in progress or done.

    Args:
        find: Finds the answer to a key.
        limit: How many are kept. What is in progress is never dropped.
    """

    def __init__(self, find: Callable[[Key], Awaitable[Value]], limit: int) -> None:
        self._find, self._limit = find, limit
        self._tasks: dict[Key, asyncio.Task[Value]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    async def _run(self, key: Key) -> Value:
        return await self._find(key)

    def task(self, key: Key) -> asyncio.Task[Value]:
        """Return the task that finds an answer: made now, before, or in progress."""
        task = self._tasks.pop(key, None) or asyncio.create_task(self._run(key))
        # At the end, since it is the newest now; the oldest goes, unless somebody waits for it.
        self._tasks[key] = task
        while len(self._tasks) > self._limit:
            oldest = next(iter(self._tasks))
            if not self._tasks[oldest].done():
                break
            del self._tasks[oldest]
        return task

    async def get(self, key: Key) -> Value:
        """Return an answer; whoever stops waiting leaves the others waiting.

        Raises:
            Exception: As `find` does, to all who wait.
        """
        task = self.task(key)
        return task.result() if task.done() else await asyncio.shield(task)

    async def close(self) -> None:
        """End what is in progress."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

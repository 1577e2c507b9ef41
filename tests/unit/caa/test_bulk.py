# SPDX-License-Identifier: Apache-2.0
"""Results come in the order of the names, with a bounded number of them in progress."""

import asyncio

import pytest

from certbot_enclave.caa import bulk


def _collect(items, work, limit):
    async def run():
        return [found async for found in bulk.in_order(items, work, limit=limit)]

    return asyncio.run(run())


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
def test_results_come_in_order_whoever_is_done_first(limit):
    async def work(item):
        for _ in range(item % 5):
            await asyncio.sleep(0)
        return item

    assert _collect(range(40), work, limit) == list(range(40))


@pytest.mark.parametrize("limit", [1, 3])
def test_no_more_are_taken_than_there_is_room_for(limit):
    taken, given = [], []

    def items():
        for number in range(20):
            taken.append(number)
            assert len(taken) - len(given) <= limit
            yield number

    async def work(item):
        await asyncio.sleep(0)
        return item

    async def run():
        async for found in bulk.in_order(items(), work, limit=limit):
            given.append(found)  # noqa: PERF401 (looked at in between)

    asyncio.run(run())
    assert given == taken == list(range(20))


def test_what_is_in_progress_ends_with_an_error():
    ended = []

    async def work(item):
        if item == 1:
            raise ValueError("one")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append(item)
            raise

    async def run():
        async for _ in bulk.in_order([1, 2, 3], work, limit=3):
            pass

    with pytest.raises(ValueError, match="one"):
        asyncio.run(run())
    assert ended == [2, 3]

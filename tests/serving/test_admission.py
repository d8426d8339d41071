"""Turns: inserts go first, and calls are never left without one."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from realtime.serving.admission import Admission
from realtime.serving.limits import Limits


async def settled() -> None:
    """Lets everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_an_insert_takes_the_next_turn_that_is_given_back() -> None:
    async def run() -> None:
        admission = Admission(Limits(in_flight=2))
        began: list[str] = []

        async def call(name: str, end: asyncio.Event) -> None:
            async with admission.admitted():
                began.append(name)
                await end.wait()

        ends = {name: asyncio.Event() for name in "abc"}
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as insert:
            for name, end in ends.items():
                tasks.create_task(call(name, end))
            await settled()
            assert began == ["a", "b"]
            await insert.enter_async_context(admission.ahead())  # at once, though no turn is free
            ends["a"].set()
            await settled()
            assert began == ["a", "b"], "the turn of a is the insert's"
            await insert.aclose()
            await settled()
            assert began == ["a", "b", "c"]
            for end in ends.values():
                end.set()
        assert not admission.full
        assert admission.in_flight == 0

    asyncio.run(run())


def test_one_turn_is_left_for_calls_however_many_inserts_there_are() -> None:
    async def run() -> None:
        admission = Admission(Limits(in_flight=3))
        async with AsyncExitStack() as inserts:
            for _ in range(10):
                await inserts.enter_async_context(admission.ahead())
            async with asyncio.timeout(5), admission.admitted():
                assert admission.full
            assert not admission.full
        async with AsyncExitStack() as calls:
            for _ in range(3):
                await calls.enter_async_context(admission.admitted())
            assert admission.full
        assert not admission.full

    asyncio.run(run())


def test_turns_are_as_many_after_inserts_that_found_none_free() -> None:
    async def run() -> None:
        admission = Admission(Limits(in_flight=3))
        async with AsyncExitStack() as calls:
            for _ in range(3):
                await calls.enter_async_context(admission.admitted())
            async with admission.ahead(), admission.ahead():
                pass
            assert admission.full
        async with AsyncExitStack() as calls:
            for _ in range(3):
                assert not admission.full
                await calls.enter_async_context(admission.admitted())
            assert admission.full

    asyncio.run(run())

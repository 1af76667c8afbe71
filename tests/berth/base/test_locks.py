"""Locks by name: one at a time for one name, none kept when nobody uses it."""

import asyncio

import pytest

from berth.base.locks import NamedLocks


async def test_one_at_a_time_for_a_name_and_names_apart() -> None:
    locks, inside, order = NamedLocks(), asyncio.Event(), list[str]()

    async def first() -> None:
        async with locks.hold("a"):
            inside.set()
            async with locks.hold("b"):  # another name is free
                order.append("first")

    async def second() -> None:
        await inside.wait()
        async with locks.hold("a"):
            order.append("second")

    await asyncio.gather(second(), first())
    assert order == ["first", "second"]


async def test_a_failure_lets_the_next_one_in() -> None:
    locks = NamedLocks()
    with pytest.raises(ValueError, match="broken"):
        async with locks.hold("a"):
            raise ValueError("broken")
    async with asyncio.timeout(5), locks.hold("a"):
        pass


async def test_who_waits_in_vain_leaves_nothing() -> None:
    locks = NamedLocks()
    async with locks.hold("a"):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01), locks.hold("a"):
                raise AssertionError("the lock was held")
    assert locks._locks == {}

from __future__ import annotations

import asyncio

import pytest

from preprocess_service.admission import Admission, Priority
from preprocess_service.deadline import Deadline
from preprocess_service.errors import DeadlinePassed, Overloaded


class Door:
    """Callers at a door, and the order in which they came in."""

    def __init__(self, max_inside, max_waiting):
        self.admission = Admission(max_inside, max_waiting)
        self.entered: list[str] = []
        self.leave: dict[str, asyncio.Event] = {}

    def caller(self, name, cost=1, priority=Priority.NORMAL, deadline_s=30.0):
        self.leave[name] = asyncio.Event()

        async def visit():
            async with self.admission.admit(cost, priority, Deadline(deadline_s)):
                self.entered.append(name)
                await self.leave[name].wait()

        return asyncio.create_task(visit())


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


async def test_lets_in_as_many_as_there_is_room_for():
    door = Door(2, 10)
    tasks = [door.caller(name) for name in "abc"]
    await settle()
    assert door.entered == ["a", "b"]

    door.leave["a"].set()
    await settle()

    assert door.entered == ["a", "b", "c"]
    for name in "bc":
        door.leave[name].set()
    await asyncio.gather(*tasks)


async def test_urgent_callers_overtake_those_who_wait():
    door = Door(1, 10)
    tasks = [door.caller("first"), door.caller("normal")]
    await settle()
    tasks.append(door.caller("urgent", priority=Priority.URGENT))
    await settle()

    for name in ("first", "urgent", "normal"):
        door.leave[name].set()
        await settle()

    await asyncio.gather(*tasks)
    assert door.entered == ["first", "urgent", "normal"]


async def test_refuses_at_once_when_too_many_wait():
    door = Door(1, 1)
    tasks = [door.caller("inside"), door.caller("waiting")]
    await settle()

    with pytest.raises(Overloaded, match="at most 1 may wait") as refusal:
        await door.caller("refused")

    assert refusal.value.retry_after_ms >= 50
    for name in ("inside", "waiting"):
        door.leave[name].set()
    await asyncio.gather(*tasks)


async def test_a_full_waiting_room_still_takes_urgent_callers():
    door = Door(1, 2)
    tasks = [door.caller("inside"), door.caller("normal 1"), door.caller("normal 2")]
    await settle()
    tasks.append(door.caller("urgent", priority=Priority.URGENT))
    await settle()
    with pytest.raises(Overloaded):
        await door.caller("normal 3")

    for name in ("inside", "urgent", "normal 1", "normal 2"):
        door.leave[name].set()
        await settle()

    await asyncio.gather(*tasks)
    assert door.entered == ["inside", "urgent", "normal 1", "normal 2"]


async def test_a_large_request_waits_for_room_and_is_not_overtaken_for_ever():
    door = Door(4, 10)
    tasks = [door.caller("small"), door.caller("large", cost=4), door.caller("late")]
    await settle()
    assert door.entered == ["small"]

    door.leave["small"].set()
    await settle()
    assert door.entered == ["small", "large"]

    door.leave["large"].set()
    door.leave["late"].set()
    await asyncio.gather(*tasks)
    assert door.entered == ["small", "large", "late"]


async def test_a_request_larger_than_the_room_enters_alone():
    door = Door(2, 10)
    task = door.caller("huge", cost=99)
    await settle()

    assert door.entered == ["huge"]
    door.leave["huge"].set()
    await task


async def test_whoever_waits_past_the_deadline_goes_and_leaves_no_trace():
    door = Door(1, 1)
    inside = door.caller("inside")
    await settle()

    with pytest.raises(DeadlinePassed):
        await door.caller("late", deadline_s=0.01)

    next_one = door.caller("next")
    await settle()
    door.leave["inside"].set()
    door.leave["next"].set()
    await asyncio.gather(inside, next_one)
    assert door.entered == ["inside", "next"]


async def test_a_cancelled_caller_gives_its_place_back_wherever_it_stands():
    door = Door(1, 2)
    inside, waiting = door.caller("inside"), door.caller("waiting")
    await settle()

    waiting.cancel()
    inside.cancel()
    await asyncio.gather(inside, waiting, return_exceptions=True)

    after = door.caller("after")
    await settle()
    assert door.entered == ["inside", "after"]
    door.leave["after"].set()
    await after


async def test_a_caller_cancelled_as_its_turn_comes_gives_it_on():
    door = Door(1, 2)
    tasks = [door.caller(name) for name in ("inside", "unlucky", "next")]
    await settle()

    door.leave["inside"].set()
    for _ in range(3):  # far enough that the turn is given, not so far that it is taken
        await asyncio.sleep(0)
        tasks[1].cancel()
    await settle()

    assert "next" in door.entered
    door.leave["next"].set()
    await asyncio.gather(*tasks, return_exceptions=True)

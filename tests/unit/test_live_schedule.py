"""Which live calls are judged next, and together with which."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from preprocess_service.admission import Priority
from preprocess_service.live.schedule import Schedule

KEY, OTHER = ("multimodal", ""), ("multimodal", "2")


@dataclass
class Call:
    name: str
    due_at: float = 0.0
    priority: Priority = Priority.NORMAL
    batch_key: tuple[str, str] = KEY


@dataclass
class Judge:
    """Takes batches only while the gate is open, and fails at calls named "bad"."""

    gate: asyncio.Event = field(default_factory=asyncio.Event)
    batches: list[list[str]] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    judged: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def __call__(self, calls: Sequence[Call]) -> None:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        await self.gate.wait()
        await asyncio.sleep(0)
        self.under_way -= 1
        async with self.judged:
            self.batches.append([each.name for each in calls])
            self.judged.notify_all()
        if calls[0].name == "bad":
            raise RuntimeError("a fault")

    async def until(self, count: int) -> None:
        """Opens the gate and waits until so many calls were judged."""
        self.gate.set()
        async with asyncio.timeout(30), self.judged:
            await self.judged.wait_for(lambda: sum(map(len, self.batches)) >= count)


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
async def schedule(judge: Judge) -> AsyncIterator[Schedule[Call]]:
    """One worker, busy with a first call until the gate opens."""
    made: Schedule[Call] = Schedule(judge, workers=1, max_batch=3, gather_s=0)
    made.add(Call("first"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert judge.under_way == 1
    yield made
    await made.close()


async def test_a_call_alone_goes_at_once_and_alone(schedule: Schedule[Call], judge: Judge) -> None:
    await judge.until(1)
    schedule.add(Call("second"))
    await judge.until(2)

    assert judge.batches == [["first"], ["second"]]


async def test_urgent_calls_go_first_then_those_longest_due(schedule: Schedule[Call], judge: Judge) -> None:
    for name, due_at, priority in (
        ("new", 9.0, Priority.NORMAL),
        ("old", 1.0, Priority.NORMAL),
        ("urgent", 8.0, Priority.URGENT),
        ("older", 0.5, Priority.NORMAL),
        ("urgent, older", 7.0, Priority.URGENT),
    ):
        schedule.add(Call(name, due_at, priority))

    await judge.until(6)

    assert judge.batches[1:] == [["urgent, older", "urgent", "older"], ["old", "new"]]


async def test_calls_due_at_the_same_time_go_in_the_order_they_came(schedule: Schedule[Call], judge: Judge) -> None:
    for name in "cab":
        schedule.add(Call(name))

    await judge.until(4)

    assert judge.batches[1] == ["c", "a", "b"]


async def test_a_batch_holds_calls_of_one_model_and_version(schedule: Schedule[Call], judge: Judge) -> None:
    for number, key in enumerate((KEY, OTHER, KEY, OTHER, KEY)):
        schedule.add(Call(str(number), number, batch_key=key))

    await judge.until(6)

    assert judge.batches[1:] == [["0", "2", "4"], ["1", "3"]]


async def test_a_batch_is_bounded(schedule: Schedule[Call], judge: Judge) -> None:
    for number in range(8):
        schedule.add(Call(str(number), number))

    await judge.until(9)

    assert [len(batch) for batch in judge.batches] == [1, 3, 3, 2]


async def test_a_batch_that_fails_ends_no_worker(
    schedule: Schedule[Call], judge: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        schedule.add(Call("bad"))
        await judge.until(2)
        schedule.add(Call("good"))
        await judge.until(3)

    assert judge.batches == [["first"], ["bad"], ["good"]]
    assert [record.message for record in caplog.records] == ["live batch failed"]


async def test_workers_judge_side_by_side(judge: Judge) -> None:
    schedule: Schedule[Call] = Schedule(judge, workers=2, max_batch=1, gather_s=0)
    for number in range(4):
        schedule.add(Call(str(number)))
    await judge.until(4)
    await schedule.close()

    assert judge.most_under_way == 2


LONG_S = 3600.0


@pytest.fixture
async def patient(judge: Judge) -> AsyncIterator[Schedule[Call]]:
    """A worker that would wait an hour for a full batch, once a first call has come alone and been judged."""
    made: Schedule[Call] = Schedule(judge, workers=1, max_batch=3, gather_s=LONG_S)
    made.add(Call("alone", time.monotonic()))
    await judge.until(1)
    yield made
    await made.close()


async def test_calls_close_behind_each_other_wait_until_their_batch_is_full(
    patient: Schedule[Call], judge: Judge
) -> None:
    for name in "ab":
        patient.add(Call(name, time.monotonic()))
    await asyncio.sleep(0.05)
    assert judge.batches == [["alone"]]

    patient.add(Call("c", time.monotonic()))
    await judge.until(4)

    assert judge.batches[1:] == [["a", "b", "c"]]


async def test_an_urgent_call_does_not_wait_and_takes_those_along_that_do(
    patient: Schedule[Call], judge: Judge
) -> None:
    patient.add(Call("waits", time.monotonic()))
    patient.add(Call("urgent", time.monotonic(), Priority.URGENT))
    await judge.until(3)

    assert judge.batches[1:] == [["urgent", "waits"]]


async def test_a_call_that_has_been_due_for_long_does_not_wait(patient: Schedule[Call], judge: Judge) -> None:
    patient.add(Call("late", time.monotonic() - 2 * LONG_S))
    await judge.until(2)

    assert judge.batches[1:] == [["late"]]


async def test_a_batch_that_does_not_fill_goes_in_the_end(judge: Judge) -> None:
    schedule: Schedule[Call] = Schedule(judge, workers=2, max_batch=3, gather_s=0.02)
    for name in "abcd":
        schedule.add(Call(name, time.monotonic()))
    await judge.until(4)
    await schedule.close()

    assert judge.batches == [["a", "b", "c"], ["d"]]

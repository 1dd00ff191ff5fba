from __future__ import annotations

import asyncio
from functools import partial

import pytest

from preprocess_service.turns import Turns


async def test_pieces_are_done_in_the_order_in_which_they_came_and_give_what_they_give():
    turns, done = Turns(), list[int]()

    def piece(number: int, *, factor: int) -> int:
        done.append(number)
        return factor * number

    assert await asyncio.gather(*(turns.run(piece, number, factor=10) for number in range(4))) == [0, 10, 20, 30]
    assert done == [0, 1, 2, 3]


async def test_the_event_loop_takes_what_has_come_between_two_pieces():
    turns, done = Turns(), list[str]()
    pieces = [asyncio.create_task(turns.run(done.append, f"piece {number}")) for number in range(3)]
    together = asyncio.create_task(turns.run_each([partial(done.append, f"part {number}") for number in range(3)]))
    loop = asyncio.get_running_loop()
    while not together.done():
        seen = len(done)
        loop.call_soon(done.append, "look")
        await asyncio.sleep(0)
        assert len(done) - seen <= 2  # the look and at most one piece
    await asyncio.gather(*pieces, together)
    assert [each for each in done if each != "look"] == [
        *(f"piece {n}" for n in range(3)),
        *(f"part {n}" for n in range(3)),
    ]


async def test_a_piece_that_fails_holds_up_nobody():
    turns = Turns()

    def fail() -> None:
        raise ValueError("broken")

    failing, failing_together = turns.run(fail), turns.run_each([fail, pytest.fail])
    results = await asyncio.gather(failing, failing_together, turns.run(str, 1), return_exceptions=True)
    assert [type(each) for each in results] == [ValueError, ValueError, str]


async def test_a_piece_whose_caller_has_gone_is_not_done():
    turns, done = Turns(), list[str]()
    first, gone, last = (asyncio.create_task(turns.run(done.append, name)) for name in ("first", "gone", "last"))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(first, last)
    assert done == ["first", "last"]
    assert gone.cancelled()

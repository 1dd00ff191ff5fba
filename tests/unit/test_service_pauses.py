from __future__ import annotations

import pytest

from preprocess_service.errors import LoadFailed, TritonUnavailable, WrongAnswer
from preprocess_service.pauses import FIRST_PAUSE_S, LONGEST_PAUSE_S, Pauses


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Model:
    """Something that can be tried, and how often it was."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.pauses = Pauses(self.clock)
        self.tries = 0

    def attempt(self, error: Exception | None = None) -> None:
        with self.pauses.after_failure("model"):
            self.tries += 1
            if error is not None:
                raise error


@pytest.mark.parametrize("error", [LoadFailed("no memory"), WrongAnswer("0.7")], ids=["load", "answer"])
def test_within_the_pause_the_failure_is_repeated_without_a_try(error):
    model = Model()
    with pytest.raises(type(error)):
        model.attempt(error)

    with pytest.raises(type(error), match=str(error)):
        model.attempt()
    assert model.tries == 1

    model.clock.now += FIRST_PAUSE_S
    model.attempt()
    assert model.tries == 2


def test_each_failure_in_a_row_doubles_the_pause_up_to_the_longest():
    model, pauses = Model(), []
    for _ in range(9):
        with pytest.raises(LoadFailed):
            model.attempt(LoadFailed("no memory"))
        pause_s = 0.0
        while True:
            try:
                model.pauses.check("model")
            except LoadFailed:
                model.clock.now += FIRST_PAUSE_S
                pause_s += FIRST_PAUSE_S
            else:
                break
        pauses.append(pause_s)

    assert pauses == [1, 2, 4, 8, 16, 32, LONGEST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_PAUSE_S]


def test_a_success_forgets_the_failures_before():
    model = Model()
    for _ in range(2):
        with pytest.raises(LoadFailed):
            model.attempt(LoadFailed("no memory"))
        model.clock.now += LONGEST_PAUSE_S
    model.attempt()

    with pytest.raises(LoadFailed):
        model.attempt(LoadFailed("no memory"))
    model.clock.now += FIRST_PAUSE_S
    model.attempt()


def test_a_triton_that_cannot_be_reached_is_tried_again_at_once():
    model = Model()
    for _ in range(3):
        with pytest.raises(TritonUnavailable, match="refused"):
            model.attempt(TritonUnavailable("connection refused"))

    assert model.tries == 3


def test_a_reason_is_news_once():
    pauses = Pauses()

    assert [pauses.is_news("a", "x"), pauses.is_news("a", "x"), pauses.is_news("b", "x")] == [True, False, True]
    assert pauses.is_news("a", "y")

"""An error that occurs each second is not logged each second."""

import pytest

from launcher.writing.recurring import FIRST_SECONDS, LONGEST_SECONDS, Recurring


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def trouble(clock: Clock) -> Recurring:
    return Recurring(clock)


def fail_for(trouble: Recurring, clock: Clock, seconds: int) -> list[int]:
    """The seconds in which the error was to be logged."""
    said = []
    for second in range(seconds):
        if trouble.failed():
            said.append(second)
        clock.now += 1
    return said


def test_it_is_told_at_growing_distances(trouble: Recurring, clock: Clock) -> None:
    assert fail_for(trouble, clock, 100) == [0, 2, 6, 14, 30, 62]
    assert trouble.seconds == 99


def test_the_distance_has_a_limit(trouble: Recurring, clock: Clock) -> None:
    said = fail_for(trouble, clock, 10_000)

    assert said[-1] - said[-2] == LONGEST_SECONDS


def test_the_end_is_told_once(trouble: Recurring, clock: Clock) -> None:
    assert not trouble.well()
    fail_for(trouble, clock, 5)

    assert trouble.well()
    assert not trouble.well()
    assert trouble.seconds == 0


def test_what_comes_and_goes_is_told_no_more_often(trouble: Recurring, clock: Clock) -> None:
    told = 0
    for _ in range(100):
        told += trouble.failed() + trouble.well()
        clock.now += 1

    assert told == 2 * 6


def test_another_one_after_a_long_time_is_told_at_once(trouble: Recurring, clock: Clock) -> None:
    fail_for(trouble, clock, 31)
    trouble.well()
    clock.now += 70

    assert fail_for(trouble, clock, 3) == [0, FIRST_SECONDS]

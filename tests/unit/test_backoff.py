"""Waiting in a start: bounded, said once, ended by a stop."""

import threading
from collections.abc import Callable

import pytest

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.errors import DatabaseUnavailable
from launcher.serve import backoff
from launcher.serve.backoff import Backoff, Stopped

AWAY = DatabaseUnavailable(url="sqlite:////x", reason="locked")


class Clock:
    """Stands in for the module's time: moves only by what is waited for."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Waiting(threading.Event):
    """An event that is never set by itself; waiting for it moves the clock instead."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.pauses: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.pauses.append(timeout)
        self._clock.now += timeout
        return self.is_set()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(backoff, "time", clock)
    return clock


@pytest.fixture
def stop(clock: Clock) -> Waiting:
    return Waiting(clock)


@pytest.fixture
def slot() -> Slot:
    board = Board()
    board.want(1, start_timeout=90)
    return board.slot(0)


def failing(times: int) -> Callable[[], str]:
    """Fails so many times, then succeeds."""
    left = [times]

    def action() -> str:
        if left[0] > 0:
            left[0] -= 1
            raise AWAY
        return "row"

    return action


def test_what_works_at_once_does_not_wait(slot: Slot, stop: Waiting) -> None:
    assert Backoff(slot, stop, 90).retry(failing(0)) == "row"
    assert (stop.pauses, slot.get("waiting")) == ([], 0)


def test_a_database_that_comes_back_is_waited_for(slot: Slot, stop: Waiting) -> None:
    assert Backoff(slot, stop, 90).retry(failing(6)) == "row"
    assert len(stop.pauses) == 6


def test_pauses_grow_to_a_limit_and_are_spread(slot: Slot, stop: Waiting) -> None:
    Backoff(slot, stop, 90).retry(failing(10))

    caps = [min(backoff.LONGEST_PAUSE_SECONDS, 0.2 * 2**n) for n in range(10)]
    assert all(cap / 2 <= pause <= cap for pause, cap in zip(stop.pauses, caps, strict=True))


def test_a_database_that_stays_away_is_given_up_within_the_timeout(
    slot: Slot, stop: Waiting, clock: Clock
) -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        Backoff(slot, stop, 90).retry(failing(1000))

    assert caught.value is AWAY
    assert 80 < clock.now <= 90


def test_a_try_that_waits_for_a_silent_database_is_not_late(
    slot: Slot, stop: Waiting, clock: Clock
) -> None:
    """Neither the first one, which alone may take longer than the timeout, nor the last."""
    deadlines = []

    def silent() -> None:
        deadlines.append(slot.get("deadline") / 1e9)
        clock.now += 0.5 if len(deadlines) > 1 else 9
        assert clock.now < deadlines[-1]
        raise AWAY

    for timeout in (5, 20):
        clock.now = 0.0
        deadlines.clear()
        with pytest.raises(DatabaseUnavailable):
            Backoff(slot, stop, timeout).retry(silent, 9.0)
        assert deadlines[0] == max(timeout, 9) + backoff.JUDGED_LATER_SECONDS
        assert set(deadlines[1:]) <= {timeout + 9 + backoff.JUDGED_LATER_SECONDS}
    assert len(deadlines) > 1


def test_another_error_is_not_waited_for(slot: Slot, stop: Waiting) -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Backoff(slot, stop, 90).retry(broken)
    assert stop.pauses == []


def test_the_wait_is_shown_and_the_outage_is_said_elsewhere(
    slot: Slot, stop: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    Backoff(slot, stop, 90).retry(failing(5))

    assert slot.get("waiting") == 1
    assert not caplog.records


def test_a_database_that_never_answers_is_away_when_the_time_is_over(slot: Slot) -> None:
    """Otherwise the master would kill the worker."""
    waiting = Backoff(slot, threading.Event(), 0.2, "postgresql://h/n")

    with pytest.raises(DatabaseUnavailable) as caught:
        waiting.ask_database(threading.Event().wait)

    told = "database postgresql://h/n cannot be reached: no answer within 0.2 s"
    assert str(caught.value) == told


def test_a_stop_ends_the_retries(slot: Slot, stop: Waiting) -> None:
    def stopped_meanwhile() -> None:
        stop.set()
        raise AWAY

    with pytest.raises(Stopped):
        Backoff(slot, stop, 90).retry(stopped_meanwhile)


def test_nothing_is_tried_after_a_stop(slot: Slot, stop: Waiting) -> None:
    stop.set()

    with pytest.raises(Stopped):
        Backoff(slot, stop, 90).retry(lambda: pytest.fail("tried"))


def test_an_event_that_came_is_not_waited_for(slot: Slot, stop: Waiting, clock: Clock) -> None:
    event = Waiting(clock)
    event.set()

    assert Backoff(slot, stop, 90).wait_for(event, "the bus")
    assert slot.get("waiting") == 0


def test_an_event_that_does_not_come_is_given_up(slot: Slot, stop: Waiting, clock: Clock) -> None:
    assert not Backoff(slot, stop, 90).wait_for(Waiting(clock), "the bus")
    assert clock.now == pytest.approx(90, abs=0.2)


def test_a_short_wait_is_not_worth_a_word(
    slot: Slot, stop: Waiting, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    Backoff(slot, stop, backoff.SAID_AFTER_SECONDS).wait_for(Waiting(clock), "the bus")
    assert caplog.records == []

    Backoff(slot, stop, 5).wait_for(Waiting(clock), "the bus")
    assert [record.getMessage() for record in caplog.records] == ["waiting for the bus"]
    assert slot.get("waiting") == 1


def test_a_stop_ends_the_wait_for_an_event(slot: Slot, clock: Clock) -> None:
    stop = threading.Event()
    stop.set()

    with pytest.raises(Stopped):
        Backoff(slot, stop, 90).wait_for(Waiting(clock), "the bus")


def test_a_database_is_asked_in_a_thread_of_its_own(slot: Slot) -> None:
    asked = Backoff(slot, threading.Event(), 90)
    assert asked.ask_database(threading.current_thread) is not threading.current_thread()
    with pytest.raises(ZeroDivisionError):
        asked.ask_database(lambda: 1 / 0)


def test_the_last_answer_is_the_reason_though_the_last_try_got_none(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "FIRST_PAUSE_SECONDS", 0.01)
    answers: list[DatabaseUnavailable] = [unreachable("access denied")]
    silent = threading.Event()

    def ask() -> None:
        if answers:
            raise answers.pop()
        silent.wait()

    waiting = Backoff(slot, threading.Event(), 0.5, "postgresql://h/n")
    with pytest.raises(DatabaseUnavailable, match="access denied"):
        waiting.ask_database(ask)


def unreachable(reason: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(url="postgresql://h/n", reason=reason)


def test_a_stop_does_not_wait_for_a_database_that_is_silent(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backoff, "STOP_SECONDS", 0.01)
    stop, answer = threading.Event(), threading.Event()

    def ask() -> bool:
        stop.set()
        return answer.wait(60)

    with pytest.raises(Stopped):
        Backoff(slot, stop, 90).ask_database(ask)
    answer.set()

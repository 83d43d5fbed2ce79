"""What a worker has in hand, on the board and in words."""

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any

import oslo_messaging
import pytest

from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.board.slot import Slot
from launcher.board.slot_fields import SECOND
from launcher.rpc_results import Unanswerable
from launcher.serve import calls_in_hand
from launcher.serve.calls_in_hand import Reminder, TrackedEndpoint, Tracker, describe
from launcher.serve.rpc import awaited, expose, sent_at, skip_tracking
from tests.support.waiting import wait_until

DAY = 86400 * SECOND


@pytest.fixture
def slot() -> Slot:
    board = Board()
    board.want(1, start_timeout=90)
    return board.slot(0)


@pytest.fixture
def tracker(slot: Slot) -> Tracker:
    return Tracker(slot, Counters(1).of(0))


class Endpoint:
    def __init__(self, slot: Slot) -> None:
        self._slot = slot

    @expose
    def oldest(self, context: Any) -> str:
        return self._slot.view().oldest_call

    @expose
    @skip_tracking
    def quiet(self, context: Any) -> int:
        return self._slot.get("calls_in_hand")

    @expose
    def nothing_to_send(self, context: Any) -> object:
        return object()

    def hidden(self, context: Any) -> None:
        """No client is to reach it."""

    @property
    def looked_at(self) -> Any:
        raise AssertionError("a client has had it looked at")

    @expose
    def cancel(self, context: Any) -> None:
        raise asyncio.CancelledError

    @expose
    @skip_tracking
    def leave(self, context: Any) -> None:
        raise SystemExit(1)


def test_the_oldest_call_is_on_the_board(slot: Slot, tracker: Tracker) -> None:
    with tracker.call("live_migration"):
        since = slot.view().oldest_call_since
        with tracker.call("ping"):
            assert slot.view().oldest_call == "live_migration"
            assert slot.view().oldest_call_since == since > 0
    assert slot.view().oldest_call == ""
    assert slot.view().oldest_call_since == 0


def test_when_the_oldest_is_over_the_next_one_is_shown(slot: Slot, tracker: Tracker) -> None:
    first = tracker.call("first")
    first.__enter__()
    with tracker.call("second"):
        first.__exit__(None, None, None)
        assert slot.view().oldest_call == "second"


def test_a_long_name_is_cut(slot: Slot, tracker: Tracker) -> None:
    with tracker.call("ü" * 100):
        assert slot.view().oldest_call == "ü" * 32


def test_calls_are_told_with_their_request(tracker: Tracker) -> None:
    assert describe(tracker.in_hand()) == "no calls in hand"
    with tracker.call("resize", "req-7"):
        assert describe(tracker.in_hand()) == "1 call in hand, oldest resize (req-7) 0 s"
        with tracker.call("ping"):
            assert describe(tracker.in_hand()).startswith("2 calls in hand, oldest resize")


def test_a_skipped_method_is_called_and_not_counted(slot: Slot, tracker: Tracker) -> None:
    endpoint = TrackedEndpoint(Endpoint(slot), tracker)

    assert endpoint.quiet({}) == 0
    assert endpoint.oldest({"request_id": "req-1"}) == "oldest"
    assert (slot.get("calls_done"), slot.get("calls_failed")) == (1, 0)
    with pytest.raises(RuntimeError, match=r"leave called sys\.exit"):
        endpoint.leave({})
    with pytest.raises(RuntimeError, match="cancel raised CancelledError"):
        endpoint.cancel({})
    assert slot.get("calls_failed") == 1


@pytest.mark.parametrize(("days", "runs"), [(0.5, 1), (400_000, 0)])
def test_a_wait_that_no_clock_can_mean_does_not_count(slot: Slot, days: float, runs: int) -> None:
    """The time of sending comes with the message."""
    counters = Counters(1)
    Tracker(slot, counters.of(0)).count_wait("resize", time.monotonic_ns() - int(days * DAY))
    found = counters.read().get(("wait", "resize"))
    assert (found.runs if found else 0) == runs


def test_how_long_calls_take_is_counted_and_how_many_fail(
    slot: Slot, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters, now = Counters(1), 7 * SECOND
    tracker = Tracker(slot, counters.of(0))
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)

    with tracker.call("resize"):
        now += 3 * SECOND
        assert describe(tracker.in_hand()) == "1 call in hand, oldest resize 3 s"
    with suppress(KeyError), tracker.call("resize"):
        now += SECOND // 2
        raise KeyError

    with tracker.call("resize"):
        now += SECOND

    found = counters.read()["call", "resize"]
    assert (found.runs, found.failed, found.seconds) == (3, 1, 4.5)
    assert (slot.get("calls_done"), slot.get("calls_failed")) == (2, 1)


def test_how_long_calls_wait_is_counted(
    slot: Slot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One that the clock of another host has sent in the future has not waited, and that is said
    once."""
    counters, now = Counters(1), 7 * SECOND
    tracker = Tracker(slot, counters.of(0))
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)
    for sent in (0, now - 2 * SECOND, now + 3 * SECOND, now + 4 * SECOND):
        sent_at.set(sent)
        with tracker.call("resize"):
            now += SECOND
            sent_at.set(0)
        now -= SECOND

    found = counters.read()["wait", "resize"]
    assert (found.runs, found.seconds) == (3, 2.0)
    assert caplog.text.count("by the clock of another host") == 1
    assert "sent 3.000 s from now" in caplog.text


def test_what_was_done_in_the_background_is_no_call(slot: Slot, tracker: Tracker) -> None:
    future: Future[None] = Future()
    tracker.track(future, "image upload")
    future.set_exception(KeyError())

    assert (slot.get("calls_done"), slot.get("calls_failed")) == (0, 0)


def test_a_request_that_is_long_is_cut(tracker: Tracker) -> None:
    with tracker.call("resize", "r" * 101):
        assert describe(tracker.in_hand()).endswith(f"resize ({'r' * 99}…) 0 s")
    with tracker.call("resize", "r" * 100):
        assert describe(tracker.in_hand()).endswith(f"resize ({'r' * 100}) 0 s")


def test_the_request_of_a_call_is_the_one_in_its_context(slot: Slot, tracker: Tracker) -> None:
    seen: list[str] = []

    class Seeing:
        @expose
        def see(self, context: Any) -> None:
            seen.extend(work.request for work in tracker.in_hand())

    endpoint = TrackedEndpoint(Seeing(), tracker)
    endpoint.see({"request_id": "req-7"})
    endpoint.see({"request_id": None})
    endpoint.see({})

    assert seen == ["req-7", "", ""]


def test_only_what_is_exposed_is_to_be_seen(slot: Slot, tracker: Tracker) -> None:
    endpoint = TrackedEndpoint(Endpoint(slot), tracker)

    for name in ("hidden", "looked_at", "missing"):
        with pytest.raises(AttributeError):
            getattr(endpoint, name)
    assert endpoint.oldest is endpoint.oldest, "found once, known from then on"
    assert endpoint.oldest.__name__ == "oldest"


@pytest.mark.parametrize("waits", [True, False])
def test_an_answer_is_looked_at_if_somebody_waits_for_it(
    slot: Slot, tracker: Tracker, waits: bool
) -> None:
    endpoint = TrackedEndpoint(Endpoint(slot), tracker)
    token = awaited.set(waits)
    refused = pytest.raises(Unanswerable) if waits else nullcontext()

    with refused:
        endpoint.nothing_to_send({})

    awaited.reset(token)


def test_an_endpoint_has_the_target_that_it_says_it_has_or_the_default_one(
    tracker: Tracker,
) -> None:
    target = oslo_messaging.Target(version="1.7")

    assert TrackedEndpoint(SimpleNamespace(target=target), tracker).target is target
    assert isinstance(TrackedEndpoint(object(), tracker).target, oslo_messaging.Target)


def test_background_work_is_in_hand_until_it_is_done(slot: Slot, tracker: Tracker) -> None:
    future: Future[None] = Future()
    assert tracker.track(future, "image upload") is future
    assert slot.view().calls_in_hand == 1
    assert slot.view().oldest_call == "image upload"
    waiting = threading.Thread(target=tracker.wait_for_background, args=[10], daemon=True)
    waiting.start()
    assert waiting.is_alive()
    future.set_result(None)
    waiting.join(10)
    assert not waiting.is_alive()
    assert (slot.view().calls_in_hand, slot.view().calls_done) == (0, 0)


def test_work_that_was_done_before_it_was_tracked_is_not_waited_for(tracker: Tracker) -> None:
    future: Future[None] = Future()
    future.set_result(None)
    tracker.track(future, "done")

    assert tracker.wait_for_background(0)
    assert tracker.in_hand() == []


def test_a_drain_says_again_and_again_what_it_waits_for(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(calls_in_hand, "REMINDER_SECONDS", 0.01)
    line = "still waiting for 1 call in hand, oldest resize (req-7) 0 s"

    def said() -> bool:
        return [record.getMessage() for record in caplog.records].count(line) >= 3

    with caplog.at_level("INFO"), Reminder(tracker), tracker.call("resize", "req-7"):
        wait_until(said, 10, "it is said three times")


def test_what_a_drain_waits_for_is_said_each_ten_seconds(
    tracker: Tracker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """By the age of the call that is told."""
    over, now = threading.Event(), 7 * SECOND
    monkeypatch.setattr(time, "monotonic_ns", lambda: now)

    class HalfAMinute:
        """In which nothing happens, but for its end."""

        def wait(self, timeout: float) -> bool:
            nonlocal now
            now += int(timeout * SECOND)
            if now > 37 * SECOND:
                over.set()
            return over.is_set()

        def set(self) -> None:
            """The drain is over."""

    with caplog.at_level("INFO"), tracker.call("resize"):
        reminder = Reminder(tracker)
        monkeypatch.setattr(reminder, "_over", HalfAMinute())
        with reminder:
            assert over.wait(10)

    ages = [record.getMessage().rpartition("resize ")[2] for record in caplog.records]
    assert ages == ["10 s", "20 s", "30 s"]

"""What a worker has in hand, on the board and in words."""

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

import pytest

from launcher.board import Board
from launcher.counters import Counters
from launcher.serve import tracking
from launcher.serve.rpc import expose, skip_tracking
from launcher.serve.tracking import Reminder, TrackedEndpoint, Tracker, describe
from launcher.slot import Slot
from tests.support.waiting import wait_until


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
    monkeypatch.setattr(tracking, "REMINDER_SECONDS", 0.01)
    line = "still waiting for 1 call in hand, oldest resize (req-7) 0 s"

    def said() -> bool:
        return [record.getMessage() for record in caplog.records].count(line) >= 3

    with caplog.at_level("INFO"), Reminder(tracker), tracker.call("resize", "req-7"):
        wait_until(said, 10, "it is said three times")

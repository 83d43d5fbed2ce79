"""A call that takes longer than its limit is told of once, with the stack of its thread."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.serve.calls_in_hand import TrackedEndpoint, Tracker
from launcher.serve.manager import expected_exceptions, expose, warn_after
from launcher.serve.slow_calls import STACKS, SlowCalls, Watched
from launcher.writing.log_handlers import FitFormatter
from tests.support.waiting import wait_until

SOON = 10.0
LIMIT = 0.05


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


class Endpoint:
    def __init__(self, go_on: threading.Event) -> None:
        self.go_on = go_on

    @expose
    def plain(self, context: object) -> None:
        self.wait_for_disk()

    @expose
    @expected_exceptions(ValueError)
    @warn_after(LIMIT)
    def limited(self, context: object) -> None:
        self.wait_for_disk()

    @warn_after(0)
    @expose
    def patient(self, context: object) -> None:
        self.wait_for_disk()

    def wait_for_disk(self) -> None:
        assert self.go_on.wait(SOON)


Begin = Callable[..., None]


@pytest.fixture
def begin(go_on: threading.Event) -> Begin:
    """Call a method, in a thread."""
    board = Board(1)

    def begin(method: str, default: float = 0.0, times: int = 1) -> None:
        tracker = Tracker(board.slot(0), Counters().of(0), default)
        call = getattr(TrackedEndpoint(Endpoint(go_on), tracker), method)
        for _ in range(times):
            threading.Thread(target=call, args=({"request_id": "req-1"},), daemon=True).start()
        wait_until(lambda: len(tracker.in_hand()) == times, SOON, "they are in hand")

    return begin


def told(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if "takes longer" in record.getMessage()]


@pytest.mark.parametrize(("method", "default"), [("limited", 0.0), ("plain", LIMIT)])
def test_a_slow_call_is_told_of_once(
    begin: Begin, caplog: pytest.LogCaptureFixture, method: str, default: float
) -> None:
    begin(method, default)
    wait_until(lambda: told(caplog), SOON, "it is told of")
    begin("limited")  # a second call: its line comes after any second line of the first
    wait_until(lambda: len(told(caplog)) >= 2, SOON, "the other one is told of")
    first, _ = told(caplog)
    assert f"a call takes longer than 0.05 s: {method} (req-1) 0 s" in first.getMessage()
    stack = first.stack_info or ""
    assert f"in {method}" in stack
    assert "in wait_for_disk" in stack
    assert "test_slow_calls.py" in stack
    assert "in guarded" not in stack
    assert FitFormatter(logging.Formatter()).format(first).splitlines()[1].startswith("| ")


def test_the_limit_of_a_method_outranks_the_option(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    begin("patient", default=LIMIT)
    begin("limited", default=100.0)
    wait_until(lambda: told(caplog), SOON, "the one is told of")
    assert [record.getMessage().split(": ")[1].split()[0] for record in told(caplog)] == [
        "limited"
    ]


def test_a_call_that_ends_in_time_is_not_told_of(
    begin: Begin, go_on: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Tracker(Board(1).slot(0), Counters().of(0), 0.2)
    with tracker.call("quick"):
        pass
    with tracker.call("slow", "", LIMIT):
        wait_until(lambda: told(caplog), SOON, "it is told of")
        until = time.monotonic() + 0.3
        wait_until(lambda: time.monotonic() > until, SOON, "the limit of the first has passed")
    assert len(told(caplog)) == 1


def test_many_at_once_show_a_few_stacks(begin: Begin, caplog: pytest.LogCaptureFixture) -> None:
    begin("limited", times=STACKS + 5)
    wait_until(lambda: len(told(caplog)) == STACKS + 5, SOON, "all are told of")
    assert sum(bool(record.stack_info) for record in told(caplog)) == STACKS


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_a_wrong_limit_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="give a number of seconds"):
        warn_after(seconds)


def test_a_call_goes_on_though_no_thread_can_watch_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The error of the thread was the answer of the call, and no later call was watched."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    calls = SlowCalls()

    def watch(name: str) -> None:
        began = time.monotonic_ns()
        calls.watch(name, Watched(lambda: name, threading.get_ident(), began, LIMIT))

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        watch("first")
        watch("second")
    assert caplog.text.count("slow calls are not told: the kernel gives no further thread") == 1
    watch("third")

    def all_are_told() -> bool:
        said = f"a call takes longer than {LIMIT:g} s: "
        return all(said + name in caplog.text for name in ("first", "second", "third"))

    wait_until(all_are_told, SOON, "the log tells of all three")

"""How a late worker is ended; a recorder takes the signals instead of the kernel."""

import errno
import signal
from collections.abc import Callable

import psutil
import pytest

from launcher.board.board import Board
from launcher.board.slot_fields import SlotView, seconds
from launcher.supervise.watch import repair as module
from launcher.supervise.watch.repair import GRACE_SECONDS, OWN_SECONDS, SHOW, Repair
from launcher.supervise.watch.suspicion import Suspicion

NOW = seconds(1000)
Sent = list[tuple[int, signal.Signals]]


def late(pid: int = 42, slot: int = 1) -> Suspicion:
    board = Board(capacity=2)
    board.slot(slot).put("pid", pid)
    view: SlotView = board.slot(slot).view()
    return Suspicion(view, "task tick", NOW - seconds(3), NOW - seconds(8))


def repair(sent: Sent, state: str = psutil.STATUS_SLEEPING) -> Repair:
    def send(pid: int, number: signal.Signals) -> None:
        sent.append((pid, number))

    return Repair(send=send, state_of=lambda _: state)


def test_it_is_asked_for_its_stacks_then_aborted_then_killed_once_each() -> None:
    sent: Sent = []
    mending = repair(sent)
    for after in (0, 0.1, OWN_SECONDS - 0.1):
        assert mending.treat([late()], NOW + seconds(after)) == []
    assert sent == [(42, SHOW)]
    for after in (OWN_SECONDS, OWN_SECONDS + 0.1, OWN_SECONDS + GRACE_SECONDS - 0.1):
        assert mending.treat([late()], NOW + seconds(after)) == []
    assert sent == [(42, SHOW), (42, signal.SIGABRT)]
    for after in (OWN_SECONDS + GRACE_SECONDS, GRACE_SECONDS + 5):
        mending.treat([late()], NOW + seconds(after))
    assert sent == [(42, SHOW), (42, signal.SIGABRT), (42, signal.SIGKILL)]


@pytest.mark.parametrize("state", [psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP])
def test_one_that_runs_no_handler_is_killed_at_once_and_the_log_says_why_there_are_no_stacks(
    state: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent: Sent = []
    repair(sent, state).treat([late()], NOW)

    assert sent == [(42, signal.SIGKILL)]
    assert "worker 1 pid 42: task tick late by 3 s" in caplog.text
    assert f"the process is {state} and cannot show its stacks" in caplog.text


def test_one_that_was_late_and_died_is_no_case_any_more() -> None:
    sent: Sent = []
    mending = repair(sent)
    mending.treat([late()], NOW)
    mending.treat([], NOW + seconds(1))
    mending.treat([late(pid=43)], NOW + seconds(2))

    assert sent == [(42, SHOW), (43, SHOW)]


def test_a_slot_without_a_process_is_given_back() -> None:
    sent: Sent = []
    lost = late(pid=0)

    assert repair(sent).treat([lost, late(slot=0)], NOW) == [lost]
    assert sent == [(42, SHOW)]


def test_who_buries_the_worker_is_told_first_for_what_it_was_ended() -> None:
    order: list[object] = []
    send: Callable[[int, signal.Signals], None] = lambda pid, number: order.append(number)  # noqa: E731
    Repair(lambda *facts: order.append(facts), send=send, state_of=lambda _: "running").treat(
        [late()], NOW
    )

    assert order == [
        (1, 42, "task tick late by 3 s, 8.0 s after it began", NOW - seconds(8)),
        SHOW,
    ]


def test_a_process_that_has_just_gone_is_no_error() -> None:
    def send(pid: int, number: signal.Signals) -> None:
        raise ProcessLookupError

    assert Repair(send=send, state_of=lambda _: "gone").treat([late()], NOW) == []


def test_a_process_that_cannot_be_looked_at_is_treated_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No descriptor is free, for example: psutil passes that error on."""

    def look(pid: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(psutil, "Process", look)
    assert module._state_of(1) == "not to be seen"

"""The board: a process sees what another one writes, and never half of it."""

import errno
import gc
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.board.board import NO_LEAD, Board
from launcher.board.slot import Slot
from launcher.board.slot_fields import CENTURY_SECONDS, TASK_BITS, TEXT_BYTES, SlotView, seconds
from launcher.board.states import ImpossibleTransition, Step, Wait, Wanted, WorkerState
from tests.support.descriptors import opened
from tests.support.waiting import wait_until

HOUR = seconds(3600)


@pytest.fixture
def board() -> Board:
    board = Board()
    board.want(4, start_timeout=90)
    return board


def test_a_board_that_is_gone_keeps_no_descriptor() -> None:
    before = opened()
    board = Board()
    assert len(opened() - before) == 2
    del board
    assert opened() == before


@pytest.mark.parametrize("call", ["memfd_create", "eventfd"])
def test_a_board_that_cannot_be_made_says_so_once(
    call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a second time when what there was of it is collected."""
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="open files"):
        Board()
    gc.collect()
    assert unraisable == []


@contextmanager
def child(action: Callable[[], object]) -> Iterator[int]:
    """A real fork that does `action`; killed at the end if it still runs."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_deadline_is_there_before_the_fork() -> None:
    board, before = Board(), time.monotonic_ns()

    board.want(2, start_timeout=90)

    for slot in board.slots():
        assert slot.state is WorkerState.EMPTY
        assert before + seconds(90) <= slot.get("deadline") <= time.monotonic_ns() + seconds(90)


def test_a_surge_has_a_slot_until_it_is_left(board: Board) -> None:
    assert [board.wants(number) for number in (3, 4)] == [True, False]
    assert board.want_surge(90, Wanted.CANDIDATE) == 4
    assert board.wants(4)
    assert [slot.number for slot in board.slots()] == [0, 1, 2, 3, 4]
    assert board.workers == 4

    board.dismiss_surge()
    assert not board.wants(4)
    assert len(list(board.slots())) == 5, "its worker has yet to leave"

    board.trim()
    assert len(list(board.slots())) == 4


def test_slots_that_are_in_use_keep_what_they_have_when_more_are_wanted(board: Board) -> None:
    board.slot(1).occupy(4242, 90)

    board.want(6, start_timeout=90)

    assert board.slot(1).get("pid") == 4242
    assert board.slot(5).get("deadline") > time.monotonic_ns()
    board.want(2, start_timeout=90)
    assert len(list(board.slots())) == 6
    board.trim()
    assert len(list(board.slots())) == 2


def test_a_worker_is_seen_by_the_master_across_a_fork(board: Board) -> None:
    def work() -> None:
        slot = board.slot(2)
        slot.occupy(os.getpid(), 90)
        slot.begin(Step.INIT_HOST, 60)
        slot.serve(HOUR, 3)

    with child(work) as pid:
        wait_until(lambda: board.slot(2).state is WorkerState.SERVING, 5, "slot 2 serves")
        seen = board.slot(2).view()

    assert (seen.slot, seen.pid, seen.step) == (2, pid, Step.DONE)
    assert (seen.deadline, seen.deadline_task) == (HOUR, 3)
    assert seen.served_since <= time.monotonic_ns()
    assert board.serving() == 1


def test_the_master_is_seen_by_a_worker_across_a_fork(board: Board) -> None:
    def work() -> None:
        wait_until(lambda: board.stopping and board.lead == 3, 5, "told to stop")
        board.slot(0).put("left", 1)

    with child(work):
        board.appoint(3)
        board.announce_stop()
        wait_until(lambda: board.slot(0).get("left"), 5, "the worker has seen both")


def test_no_word_is_ever_torn(board: Board) -> None:
    patterns = {0, 0x0101010101010101, 0x7E7E7E7E7E7E7E7E}

    def hammer() -> None:
        slot = board.slot(1)
        while True:
            for pattern in patterns:
                slot.put("deadline", pattern)

    board.slot(1).put("deadline", 0)
    with child(hammer):
        wait_until(lambda: board.slot(1).get("deadline"), 5, "the hammering began")
        seen: set[int] = set()

        def look() -> bool:
            """Repeated, in case the writing process had no processor time."""
            seen.update(board.slot(1).get("deadline") for _ in range(20_000))
            return len(seen) > 1

        wait_until(look, 5, "more than one pattern is seen")

    assert seen <= patterns


def test_slots_do_not_touch_each_other(board: Board) -> None:
    board.slot(1).occupy(4242, 90)
    board.slot(1).explain("x" * 2 * TEXT_BYTES)

    for number in (0, 2):
        assert board.slot(number).state is WorkerState.EMPTY
        assert board.slot(number).get("pid") == 0
        assert board.slot(number).explanation() == ""


def test_an_impossible_transition_fails_loudly(board: Board) -> None:
    with pytest.raises(ImpossibleTransition, match="slot 0 cannot go from EMPTY to SERVING"):
        board.slot(0).enter(WorkerState.SERVING)

    assert board.slot(0).state is WorkerState.EMPTY


def test_two_workers_cannot_hold_one_slot(board: Board) -> None:
    board.slot(0).occupy(1, 90)

    with pytest.raises(ImpossibleTransition):
        board.slot(0).occupy(2, 90)


def test_a_beat_moves_the_deadline_of_a_serving_worker(board: Board) -> None:
    slot = board.slot(0)
    slot.occupy(1, 90)
    slot.serve(HOUR, 0)

    slot.beat(2 * HOUR, 5)

    assert (slot.get("deadline"), slot.get("deadline_task")) == (2 * HOUR, 5)
    assert slot.get("beats") == 1


def test_a_beat_leaves_the_deadline_of_a_start_alone(board: Board) -> None:
    slot = board.slot(0)
    slot.occupy(1, 90)
    deadline = slot.get("deadline")

    slot.beat(2 * HOUR, 5)

    assert (slot.get("deadline"), slot.get("beats")) == (deadline, 1)


def test_a_beat_leaves_the_deadline_of_a_drain_alone(board: Board) -> None:
    slot = board.slot(0)
    slot.occupy(1, 90)
    slot.serve(HOUR, 4)
    slot.drain(180)
    deadline = slot.get("deadline")

    slot.beat(2 * HOUR, 5)

    assert (slot.get("deadline"), slot.get("deadline_task")) == (deadline, 0)


def test_an_endless_drain_is_never_late(board: Board) -> None:
    slot = board.slot(0)
    slot.occupy(1, 90)

    slot.drain(0)

    assert (slot.state, slot.get("deadline")) == (WorkerState.STOPPING, 0)


def test_a_step_says_what_it_is_since_when_and_until_when(board: Board) -> None:
    slot = board.slot(0)
    slot.occupy(1, 90)
    slot.put("waiting", 1)
    before = time.monotonic_ns()

    slot.begin(Step.PRE_START_HOOK, 60)

    seen = slot.view()
    assert (seen.step, seen.waiting) == (Step.PRE_START_HOOK, Wait.NONE)
    assert before <= seen.stepped_at <= time.monotonic_ns()
    assert seen.deadline == seen.stepped_at + seconds(60)


def test_a_vacated_slot_remembers_nothing_of_the_dead(board: Board) -> None:
    slot = board.slot(0)
    slot.occupy(1, 90)
    slot.serve(HOUR, 4)
    slot.put("calls_in_hand", 3)
    slot.explain("out of luck")
    not_before = time.monotonic_ns() + seconds(30)

    slot.vacate(90, not_before)

    seen = slot.view()
    assert (seen.pid, seen.state, seen.step) == (0, WorkerState.EMPTY, Step.FORK)
    assert (seen.served_since, seen.calls_in_hand, slot.explanation()) == (0, 0, "")
    assert seen.deadline == not_before + seconds(90)


def test_the_back_off_survives_the_fork(board: Board) -> None:
    board.slot(0).vacate(90, not_before=HOUR)

    board.slot(0).occupy(1, 90)

    assert board.slot(0).get("not_before") == HOUR


@settings(max_examples=50, deadline=None, database=None)
@given(st.text(st.characters(categories=None, exclude_categories=[]), max_size=400))
def test_any_explanation_survives_as_far_as_there_is_room(reason: str) -> None:
    board = Board(capacity=1)
    slot = board.slot(0)

    slot.explain(reason)

    whole = reason.encode("utf-8", "replace").decode("utf-8")
    assert whole.startswith(slot.explanation())
    lost = whole[len(slot.explanation()) :]
    assert not lost or len(slot.explanation().encode()) > TEXT_BYTES - 4


def test_an_explanation_is_cut_at_a_character() -> None:
    slot = Board(capacity=1).slot(0)

    slot.explain("é" * TEXT_BYTES + "é")

    assert slot.explanation() == "é" * (TEXT_BYTES // 2)


def test_a_word_has_a_bit_for_each_task_that_it_can(board: Board) -> None:
    slot = board.slot(0)
    every = sum(1 << number for number in range(TASK_BITS))
    slot.put("failing_tasks", every)
    assert slot.get("failing_tasks") == every
    with pytest.raises(ValueError, match="invalid value"):
        slot.put("failing_tasks", every + 1)


def test_each_reason_of_an_outage_is_seen_though_it_is_as_long_as_the_last(board: Board) -> None:
    slot = board.slot(0)
    for reason in ("no route to host", "no such database", ""):
        slot.show_outage(reason)
        assert slot.view().outage == reason


def test_a_slot_has_room_for_a_sentence_and_a_name(board: Board) -> None:
    slot, next_one = board.slot(0), board.slot(1)
    next_one.put("pid", 4242)

    slot.explain("s" * 400)
    slot.show_outage("o" * 400)
    slot.show_oldest_call("n" * 400, 1)

    assert slot.explanation() == "s" * 320
    assert slot.view().outage == "o" * 128
    assert slot.view().oldest_call == "n" * 64
    assert next_one.get("pid") == 4242


def test_a_slot_that_has_not_changed_is_not_made_anew_for_a_look(board: Board) -> None:
    slot = board.slot(0)
    seen = slot.view()

    assert slot.view() is seen
    slot.put("beats", 1)
    assert slot.view() is not seen


def test_when_it_began_is_not_known_unless_it_is_said(board: Board) -> None:
    slot = board.slot(0)
    slot.occupy(42, 90)
    slot.serve(HOUR, 0)
    assert slot.get("deadline_since") == 0
    slot.beat(2 * HOUR, 3, 77)
    assert slot.get("deadline_since") == 77
    slot.beat(3 * HOUR, 0)
    assert slot.get("deadline_since") == 0


def test_times_are_in_nanoseconds_and_none_is_longer_than_a_century() -> None:
    assert seconds(1.5) == 1_500_000_000
    assert seconds(float("inf")) == 100 * 365.25 * 24 * 3600 * 10**9


@pytest.mark.parametrize(
    ("before", "deadline", "first"),
    [
        (10, 20, True),
        (1, 2, True),
        (20, 10, False),
        (10, 0, True),
        (1, 0, True),
        (0, 10, False),
        (0, 1, False),
    ],
)
def test_a_deadline_that_moves_away_moves_before_its_owner_does_and_else_after(
    board: Board, before: int, deadline: int, first: bool
) -> None:
    """0 counts as the latest deadline."""
    slot = board.slot(0)
    slot.occupy(42, 90)
    slot.serve(before, 0)
    owner_at_that_time: list[int] = []
    put = slot.put

    def look(field: str, value: int) -> None:
        if field == "deadline":
            owner_at_that_time.append(slot.get("deadline_task"))
        put(field, value)

    slot.put = look  # type: ignore[method-assign]
    slot.beat(deadline, 7)

    assert owner_at_that_time == [0 if first else 7]


def test_nobody_leads_at_first() -> None:
    assert Board().lead == NO_LEAD


def test_starts_of_host_wide_tasks_are_kept_apart(board: Board) -> None:
    board.note_host_task(2, 77)

    assert board.host_task_started(2) == 77
    assert [board.host_task_started(task) for task in (0, 1, 3, 66, 130)] == [0] * 5


@pytest.mark.parametrize("endless", [float("inf"), 1e30, CENTURY_SECONDS + 1])
def test_the_longest_time_fits_into_a_word(endless: float, board: Board) -> None:
    board.slot(0).vacate(endless, not_before=0)

    assert board.slot(0).get("deadline") > time.monotonic_ns()


def test_all_slots_are_seen_as_they_were_at_one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker takes over from the other in the middle of the first look."""
    board = Board(2)
    board.want(2, 90)
    for slot in board.slots():
        slot.occupy(4000 + slot.number, 90)
    board.slot(1).serve(0, 0)
    view, looks = Slot.view, []

    def look(slot: Slot) -> SlotView:
        seen = view(slot)
        looks.append(slot.number)
        if looks == [0]:
            board.slot(0).serve(0, 0)
            board.slot(1).drain(10)
        return seen

    monkeypatch.setattr(Slot, "view", look)
    assert [seen.state.name for seen in board.look()] == ["SERVING", "STOPPING"]
    assert looks == [0, 1, 0, 1]


def test_what_all_workers_die_of_is_told_by_one_of_them(board: Board) -> None:
    """Both workers look at the same moment."""
    read, write = os.pipe()
    go = board.slot(0)

    def tell() -> None:
        while not go.get("beats"):
            pass
        if board.first_to_tell("init_host: OSError: no"):
            os.write(write, b"x")

    with child(tell) as one, child(tell) as two, child(tell) as three, child(tell) as four:
        go.put("beats", 1)
        for pid in (one, two, three, four):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.close(write)
    with os.fdopen(read, "rb") as told:
        assert told.read() == b"x"
    assert not board.first_to_tell("init_host: OSError: no")
    assert board.first_to_tell("init_host: OSError: yes")
    board.forget_told()
    assert board.first_to_tell("init_host: OSError: yes")


def test_proofs_in_a_row_are_remembered_from_the_first(board: Board) -> None:
    slot = board.slot(0)
    slot.note_probe(succeeded=True)
    first, last = slot.get("probe_ok_since"), slot.get("probe_ok_at")
    assert first == last > 0

    slot.note_probe(succeeded=True)
    assert (slot.get("probe_ok_since"), slot.get("probe_failing_since")) == (first, 0)
    assert slot.get("probe_ok_at") > last
    seen = slot.get("probe_ok_at")
    slot.note_probe(succeeded=False, why=Wait.BLOCKED)
    failing = slot.get("probe_failing_since")
    assert failing >= seen
    slot.note_probe(succeeded=False, why=Wait.BLOCKED)
    assert slot.get("probe_failing_since") == failing
    assert (slot.get("probe_ok_since"), slot.get("probe_ok_at")) == (0, seen)
    slot.forgive_probe()
    assert slot.get("probe_failing_since") == 0


def test_why_a_proof_failed_is_noted_while_the_worker_serves(board: Board) -> None:
    slot = board.slot(0)
    slot.occupy(42, 90)
    slot.put("waiting", Wait.REFUSED)
    slot.note_probe(succeeded=False, why=Wait.BLOCKED)
    assert slot.view().waiting is Wait.REFUSED, "the start says itself for what it waits"
    slot.serve(0, 5)
    slot.note_probe(succeeded=False, why=Wait.BLOCKED)
    assert slot.view().waiting is Wait.BLOCKED
    slot.note_probe(succeeded=True)
    assert slot.view().waiting is Wait.NONE


@pytest.mark.parametrize("timeout", [0, 7])
def test_a_drain_has_its_time_and_0_is_without_end(board: Board, timeout: float) -> None:
    slot, before = board.slot(0), time.monotonic_ns()
    slot.occupy(42, 90)
    slot.serve(0, 5)

    slot.drain(timeout)

    assert slot.state is WorkerState.STOPPING
    assert slot.get("deadline_task") == 0
    assert before <= slot.get("deadline_since") <= time.monotonic_ns()
    expected = slot.get("deadline_since") + seconds(timeout) if timeout else 0
    assert slot.get("deadline") == expected


def test_each_start_has_an_id_of_its_own(board: Board) -> None:
    assert re.fullmatch("[0-9a-f]{16}", board.start_id)
    assert board.start_id == board.start_id != Board().start_id

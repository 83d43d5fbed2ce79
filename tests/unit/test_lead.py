"""The lead of a host: the master appoints, the lock decides."""

import fcntl
import logging
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launcher.board.board import NO_LEAD, Board
from launcher.serve.lead import Lead, holders
from tests.support.descriptors import opened
from tests.support.waiting import wait_until


@pytest.fixture
def board() -> Board:
    board = Board()
    board.want(2, start_timeout=90)
    return board


@pytest.fixture
def lock_file(tmp_path: Path) -> Path:
    return tmp_path / "lead.lock"


@pytest.fixture
def leads(board: Board, lock_file: Path) -> Iterator[tuple[Lead, Lead]]:
    pair = Lead(board, board.slot(0), lock_file), Lead(board, board.slot(1), lock_file)
    yield pair
    for lead in pair:
        lead.release()


@contextmanager
def leading_process(board: Board, lock_file: Path) -> Iterator[int]:
    """A process in slot 0 that is the lead, and hangs."""
    pid = os.fork()
    if pid == 0:
        lead = Lead(board, board.slot(0), lock_file)
        while not lead.held:
            lead.update(busy=False)
        board.slot(0).put("beats", 1)
        while True:
            signal.pause()
    try:
        wait_until(lambda: board.slot(0).get("beats"), 5, "slot 0 leads")
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_whoever_is_appointed_leads(board: Board, leads: tuple[Lead, Lead]) -> None:
    board.appoint(1)

    for lead in leads:
        lead.update(busy=False)

    assert [lead.held for lead in leads] == [False, True]


def test_there_are_never_two(board: Board, leads: tuple[Lead, Lead]) -> None:
    first, second = leads
    board.appoint(0)
    first.update(busy=False)

    board.appoint(1)
    second.update(busy=False)
    assert (first.held, second.held) == (True, False)

    first.update(busy=False)
    second.update(busy=False)
    assert (first.held, second.held) == (False, True)


def test_the_lead_is_not_given_back_in_the_middle_of_a_task(
    board: Board, leads: tuple[Lead, Lead]
) -> None:
    first, second = leads
    board.appoint(0)
    first.update(busy=False)

    board.appoint(1)
    first.update(busy=True)
    second.update(busy=False)

    assert (first.held, second.held) == (True, False)


def test_nobody_leads_when_nobody_is_appointed(board: Board, leads: tuple[Lead, Lead]) -> None:
    board.appoint(0)
    leads[0].update(busy=False)

    board.appoint(NO_LEAD)
    leads[0].update(busy=False)

    assert not leads[0].held


def test_the_lead_passes_on_when_its_process_is_killed(board: Board, lock_file: Path) -> None:
    successor = Lead(board, board.slot(1), lock_file)
    board.appoint(0)
    with leading_process(board, lock_file):
        board.appoint(1)
        successor.update(busy=False)
        assert not successor.held

    successor.update(busy=False)

    assert successor.held
    successor.release()


def test_a_stopped_process_keeps_the_lead(board: Board, lock_file: Path) -> None:
    """The master may take it for dead; until it is, it might go on with its task."""
    successor = Lead(board, board.slot(1), lock_file)
    board.appoint(0)
    with leading_process(board, lock_file) as pid:
        os.kill(pid, signal.SIGSTOP)
        board.appoint(1)
        successor.update(busy=False)
        assert not successor.held


def test_a_program_that_the_lead_starts_does_not_inherit_the_lock(
    board: Board, leads: tuple[Lead, Lead]
) -> None:
    board.appoint(0)
    leads[0].update(busy=False)

    descriptor = leads[0]._descriptor

    assert descriptor is not None
    assert not os.get_inheritable(descriptor)


def test_releasing_twice_is_harmless(board: Board, leads: tuple[Lead, Lead]) -> None:
    leads[0].release()
    leads[0].release()


def test_a_lock_that_is_lost_leaves_no_descriptor(
    board: Board, leads: tuple[Lead, Lead], lock_file: Path
) -> None:
    with lock_file.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        board.appoint(0)
        before = len(opened())

        for _ in range(5):
            leads[0].update(busy=False)

        assert len(opened()) == before


class Clock:
    """Seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_lead_that_cannot_take_the_lock_says_who_has_it(
    board: Board, lock_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    lead = Lead(board, board.slot(0), lock_file, clock)
    board.appoint(0)
    with lock_file.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for clock.now in (0.0, 9.0):  # as long as a lead takes to end
            lead.update(busy=False)
            assert not lead.blocked
            assert caplog.records == []
        for clock.now in (10.0, 11.0, 69.0):
            lead.update(busy=False)
            assert lead.blocked
        assert len(caplog.records) == 1
        assert f"locked for 10 s by pid {os.getpid()} (" in caplog.text
        clock.now = 70.0
        lead.update(busy=False)
        assert len(caplog.records) == 2

    lead.update(busy=False)
    assert (lead.held, lead.blocked) == (True, False)
    lead.release()


def test_who_is_not_appointed_any_more_is_not_blocked(board: Board, lock_file: Path) -> None:
    clock = Clock()
    lead = Lead(board, board.slot(0), lock_file, clock)
    board.appoint(0)
    with lock_file.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for clock.now in (0.0, 10.0):
            lead.update(busy=False)
        assert lead.blocked
        board.appoint(1)
        lead.update(busy=False)
        assert not lead.blocked


def test_a_copy_of_the_descriptor_does_not_keep_the_lock(
    board: Board, leads: tuple[Lead, Lead]
) -> None:
    """As a child would have it that is forked without the knowledge of Python."""
    first, second = leads
    board.appoint(0)
    first.update(busy=False)
    copy = os.dup(first.descriptors()[0])

    board.appoint(1)
    for lead in leads:
        lead.update(busy=False)

    assert second.held
    os.close(copy)


def test_a_lead_without_descriptors_says_so_and_tries_again(
    board: Board, lock_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    clock = Clock()
    lead = Lead(board, board.slot(0), lock_file, clock)
    board.appoint(0)
    with no_descriptors():
        for clock.now in (0.0, 1.0):
            lead.update(busy=False)
            assert (lead.held, lead.blocked) == (False, True)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert f"{lock_file} cannot be used: " in caplog.text
    assert "Too many open files" in caplog.text

    lead.update(busy=False)

    assert (lead.held, lead.blocked) == (True, False)
    assert f"{lock_file} can be used again" in caplog.text
    lead.release()


def test_a_lead_without_descriptors_whose_lock_was_removed_stays_it(
    board: Board, lock_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lead = Lead(board, board.slot(0), lock_file)
    board.appoint(0)
    lead.update(busy=False)
    lock_file.unlink()
    with no_descriptors():
        lead.update(busy=False)
    assert (lead.held, lead.blocked) == (True, False)
    assert "cannot be used" in caplog.text

    lead.update(busy=False)

    assert lock_file.exists()
    assert "it is made anew" in caplog.text
    lead.release()


def test_who_has_the_lock_is_not_known_without_descriptors(lock_file: Path) -> None:
    lock_file.touch()
    with no_descriptors():
        found = list(holders(lock_file))
    assert found == []


@contextmanager
def no_descriptors() -> Iterator[None]:
    """None is left to this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

"""What `forking` adds to cotyledon; the tests fail if the internals that it uses change."""

import errno
import inspect
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import cotyledon
import pytest

from launcher.board.board import Board
from launcher.board.slot_fields import seconds
from launcher.board.states import Wanted
from launcher.supervise.processes import forking
from launcher.supervise.processes.forked import ForkingContext
from launcher.supervise.processes.forking import ForkingManager
from tests.support.descriptors import opened
from tests.support.waiting import wait_until


@pytest.fixture
def board() -> Board:
    board = Board(capacity=4)
    board.want(2, start_timeout=10)
    return board


@pytest.fixture
def manager(board: Board, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkingManager]:
    """A manager without cotyledon's constructor, which would take over the whole process."""
    monkeypatch.setattr(cotyledon.ServiceManager, "__init__", lambda self, **_: None)
    manager = ForkingManager(board)
    yield manager
    manager._forker.shutdown()


def context(
    forked: Callable[[int], None] = lambda _: None,
    around: Callable[[Callable[[], None]], None] = lambda work: work(),
) -> ForkingContext:
    """Its processes have the standard input for the pipe that ends with the master."""
    return ForkingContext(forked, threading.Lock(), lambda: 0, around)


def test_cotyledon_still_forks_by_the_method_that_is_overridden() -> None:
    overridden = cotyledon.ServiceManager._start_worker
    assert list(inspect.signature(overridden).parameters) == ["self", "service_id", "worker_id"]
    callers = [
        name
        for name, method in vars(cotyledon.ServiceManager).items()
        if inspect.isfunction(method) and "self._start_worker(" in inspect.getsource(method)
    ]
    assert set(callers) == {"_child_supervisor_thread", "_adjust_workers"}
    assert "self.mp_context" in inspect.getsource(overridden)


def test_cotyledon_still_waits_for_no_more_than_the_events_that_are_replaced() -> None:
    """For each worker of multiprocessing's, five mappings would be copied by each later fork."""
    assert "mp_context.Event()" in inspect.getsource(cotyledon.ServiceManager._start_worker)
    stop = inspect.getsource(cotyledon.ServiceManager._shutdown)
    assert stop.count("started_event.") == 1
    before = Path("/proc/self/maps").read_text().count("\n")
    event = context().Event()
    event.set()
    assert event.wait(timeout=1)
    assert Path("/proc/self/maps").read_text().count("\n") <= before


def test_a_death_is_seen_though_another_worker_is_forked_first() -> None:
    """multiprocessing would wait for the dead one then, and no child would seem to have ended."""
    dead, next_one = (context().Process(target=time.sleep, args=(0,)) for _ in range(2))
    dead.start()
    os.waitid(os.P_PID, dead.pid or 0, os.WEXITED | os.WNOWAIT)

    next_one.start()

    assert forking._a_child_has_ended()
    for process in (dead, next_one):
        process.join()
        assert process.exitcode == 0


def test_a_worker_costs_the_master_no_descriptor_that_later_workers_inherit() -> None:
    before = len(opened())
    hold, release = os.pipe()
    started = [context().Process(target=os.read, args=(hold, 1)) for _ in range(3)]
    for process in started:
        process.start()

    assert all(process.is_alive() for process in started)
    assert len(opened()) == before + 2

    os.write(release, b"...")
    for process in started:
        process.join()
        assert process.exitcode == 0
        process.close()
    os.close(hold)
    os.close(release)


def test_a_child_learns_of_the_end_of_its_master_as_others_of_multiprocessing() -> None:
    told, tell = os.pipe()
    alive, end = os.pipe()

    def child() -> None:
        os.close(end)
        master = multiprocessing.parent_process()
        assert master is not None
        os.write(tell, bytes([master.is_alive()]))
        master.join()
        os.write(tell, b"x")

    process = ForkingContext(lambda _: None, threading.Lock(), lambda: alive).Process(target=child)
    process.start()
    assert os.read(told, 1) == b"\1"
    os.close(end)
    assert os.read(told, 1) == b"x"
    process.join()
    for descriptor in (told, tell, alive):
        os.close(descriptor)


def test_cotyledon_waits_for_workers_without_a_time_limit() -> None:
    stop = inspect.getsource(cotyledon.ServiceManager._shutdown)
    assert "process.join()" in stop
    assert "_death_detection_pipe = self.mp_context.Pipe" in inspect.getsource(
        cotyledon.ServiceManager.__init__
    )


def test_cotyledon_looks_for_the_dead_only_if_a_child_has_ended(
    manager: ForkingManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cotyledon.ServiceManager, "_get_last_worker_died", lambda _: "found")
    monkeypatch.setattr(forking, "_a_child_has_ended", lambda: False)
    assert manager._get_last_worker_died() is None
    monkeypatch.setattr(forking, "_a_child_has_ended", lambda: True)
    assert manager._get_last_worker_died() == "found"


def test_cotyledon_still_takes_its_signals_from_the_pipe_that_is_written_to() -> None:
    read = inspect.getsource(cotyledon.ServiceManager._wait_forever)
    assert "os.read(self.signal_pipe_r" in read
    made = inspect.getsource(cotyledon._utils.SignalManager.__init__)
    assert "self.signal_pipe_r, self.signal_pipe_w = os.pipe()" in made
    assert "self._shutdown()" in inspect.getsource(cotyledon.ServiceManager._on_signal_received)


def test_all_forks_come_from_one_thread_that_goes_on(
    manager: ForkingManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes the end of the forking thread for that of the master."""
    seen: list[threading.Thread] = []
    monkeypatch.setattr(
        cotyledon.ServiceManager,
        "_start_worker",
        lambda *_: seen.append(threading.current_thread()),
    )
    for number in (0, 1, 0):
        caller = threading.Thread(target=manager._start_worker, args=("service", number))
        caller.start()
        caller.join(10)

    assert len(seen) == 3
    assert len(set(seen)) == 1
    assert seen[0].is_alive()


def test_a_fork_that_fails_is_tried_again(
    manager: ForkingManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(forking, "RETRY_SECONDS", 0.001)
    cleared: list[tuple[object, int]] = []
    monkeypatch.setattr(manager, "reconfigure", lambda *args: cleared.append(args))
    manager._service = "service"
    results = [OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), None]

    def fork(*_: object) -> None:
        if error := results.pop(0):
            raise error

    monkeypatch.setattr(cotyledon.ServiceManager, "_start_worker", fork)
    manager._board.slot(0).put("pid", 4000)
    manager._start_worker("service", 1)

    assert results == []
    assert cleared == [("service", 2)]  # else cotyledon sleeps 5 s before a later fork
    assert "worker 1 cannot be forked: " in caplog.text


def test_nobody_is_forked_in_a_stop(
    manager: ForkingManager, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        cotyledon.ServiceManager, "_start_worker", lambda *_: pytest.fail("forked")
    )
    board.announce_stop()

    manager._start_worker("service", 1)


def test_who_is_not_wanted_is_not_forked(
    manager: ForkingManager, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cotyledon would fork a successor for any worker, wanted or not."""
    monkeypatch.setattr(
        cotyledon.ServiceManager, "_start_worker", lambda *_: pytest.fail("forked")
    )
    for slot in board.slots():
        slot.put("pid", 4000 + slot.number)

    manager._start_worker("service", 2)


def test_cotyledon_is_told_of_those_that_are_not_wanted_when_they_have_ended(
    manager: ForkingManager, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before that, cotyledon would fork successors, or stop the wrong workers."""
    told: list[int] = []
    monkeypatch.setattr(manager, "reconfigure", lambda _, workers: told.append(workers))
    monkeypatch.setattr(os, "kill", lambda pid, number: None)
    board.want(4, start_timeout=10)
    manager.adjust()
    assert told == [4]
    board.want(2, start_timeout=10)
    manager.forget(1)  # it has died, and is wanted
    manager.forget(3)
    manager.forget(2)
    assert told == [4, 4, 3, 2]


def test_cotyledon_still_counts_its_workers_as_is_told_to_it() -> None:
    adjust = inspect.getsource(cotyledon.ServiceManager._adjust_workers)
    assert "running_workers < conf.workers" in adjust
    assert "range(running_workers, conf.workers)" in adjust
    assert "self._got_sig_chld.set()" in inspect.getsource(
        cotyledon.ServiceManager._on_signal_received
    )


def test_the_pid_is_known_before_the_worker_says_anything(
    manager: ForkingManager, board: Board
) -> None:
    manager.slot = 1
    process = context(manager._note_pid).Process(target=os._exit, args=(0,))
    process.start()

    assert board.slot(1).get("pid") == process.pid
    process.join()
    assert process.exitcode == 0
    assert isinstance(process, multiprocessing.process.BaseProcess)


def test_a_spare_is_forked_after_its_pause_and_workers_at_once(
    manager: ForkingManager, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.want_spares(1, start_timeout=10)
    forked: list[int] = []

    def fork(self: object, service_id: object, cell: int) -> None:
        forked.append(cell)
        board.cell(cell).put("pid", 4000 + cell)

    monkeypatch.setattr(cotyledon.ServiceManager, "_start_worker", fork)
    spare = board.slot(4)
    pause = time.monotonic_ns() + seconds(60)
    board.slot(1).put("not_before", pause)  # a worker keeps its pause itself
    spare.put("not_before", pause)
    for _ in range(3):
        manager._start_worker("service", 7)  # whatever the number that cotyledon names
    assert forked == [0, 1]
    spare.put("not_before", 1)
    manager._start_worker("service", 7)
    assert forked == [0, 1, 4]


def test_a_fork_is_for_the_cell_of_the_slot(
    manager: ForkingManager, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.want_spares(1, start_timeout=10)
    board.slot(0).put("pid", 4000)
    board.slot(4).put("pid", 4004)
    board.exchange(1, 4)
    forked: list[int] = []
    monkeypatch.setattr(
        cotyledon.ServiceManager, "_start_worker", lambda self, _, cell: forked.append(cell)
    )
    manager._start_worker("service", 1)
    assert forked == [1], "the dead worker's memory is the next spare's"


def test_one_that_is_wanted_in_place_of_one_that_has_ended_is_not_stopped(
    manager: ForkingManager, board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    """cotyledon stops the processes above its count: a surge, just forked after a spare left."""
    told: list[int] = []
    monkeypatch.setattr(manager, "reconfigure", lambda _, count: told.append(count))
    monkeypatch.setattr(os, "kill", lambda *_: None)
    board.want_spares(1, start_timeout=10)
    manager.adjust()
    board.want_spares(0, start_timeout=10)
    board.trim()
    board.want_surge(10, Wanted.CANDIDATE)
    manager.adjust()
    manager.forget(4)  # the spare's end is told after the surge was wanted
    assert told == [3, 3, 3]


@pytest.mark.parametrize(
    ("end", "status"), [(lambda: None, 0), (lambda: sys.exit(69), 69), (lambda: 1 // 0, 1)]
)
def test_a_drain_in_the_main_thread_of_a_worker_ends_it_whatever_its_threads_do(
    manager: ForkingManager, end: Callable[[], object], status: int
) -> None:
    """The interpreter's own end waits for threads that are no daemons."""

    def work() -> None:
        threading.Thread(target=threading.Event().wait).start()
        manager._served = SimpleNamespace(begun=True, terminate=end)
        raise RuntimeError("can't start new thread")

    process = context(around=manager._in_worker).Process(target=work)
    process.start()
    pid = process.pid or 0
    try:
        wait_until(
            lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT), 10, "it ends"
        )
    finally:
        os.kill(pid, signal.SIGKILL)  # it is not waited for yet
        process.join()
    assert process.exitcode == status


@pytest.mark.parametrize(
    ("error", "logged"), [("can't start new thread", False), ("another", True)]
)
def test_workers_are_stopped_if_cotyledon_fails_in_its_stop(
    manager: ForkingManager,
    board: Board,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    *,
    error: str,
    logged: bool,
) -> None:
    monkeypatch.setattr(cotyledon.ServiceManager, "run", Mock(side_effect=RuntimeError(error)))
    worker = Mock()
    monkeypatch.setattr(cotyledon.ServiceManager, "_child_processes", [worker])
    with pytest.raises(RuntimeError):
        manager.run_until_stopped()
    board.announce_stop()
    manager.run_until_stopped()
    worker.terminate.assert_called_once_with()
    worker.join.assert_called_once_with()
    assert ("cotyledon cannot stop the workers: another" in caplog.text) is logged

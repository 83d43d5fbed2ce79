"""Orphans of workers. Each test runs its own master, in a process."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from launcher.supervise.policy import Policy
from launcher.supervise.processes.lives import has_ended
from launcher.supervise.processes.orphans import GRACE_SECONDS, Orphans
from tests.support.waiting import wait_until
from tests.unit.test_forked_children import in_a_worker

SOON = 20.0


class Master:
    """The part of a master that orphans depend on."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.policy = Policy()
        self.orphans = Orphans(self.pids, threading.Lock(), lambda: self.policy)
        self.orphans.become_subreaper()
        self.now = 0.0

    def fork(self, work: Callable[[int], None]) -> tuple[int, list[int]]:
        """Fork a worker that acts and then sleeps; return its pid and its output."""
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                work(writing)
                os.close(writing)
                time.sleep(60)
            finally:
                os._exit(1)
        os.close(writing)
        self.pids.add(pid)
        with os.fdopen(reading) as told:
            return pid, [int(word) for word in told.read().split()]

    def look(self) -> None:
        """Do what a round of the monitor does."""
        self.now += 1
        self.orphans.look(self.now)

    def kill(self, pid: int) -> None:
        """Kill it and wait for it, as cotyledon does."""
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def tree(writing: int) -> None:
    """A program with a child that no process waits for."""
    shell = "sleep 600 >&- & echo $$ $!; exec >&-; wait"
    subprocess.Popen(["sh", "-c", shell], stdout=writing, close_fds=True)


def daemon(writing: int) -> None:
    """A program whose parent has ended."""
    subprocess.run(["sh", "-c", "setsid sleep 600 >&- 2>&- & echo $!"], stdout=writing, check=True)


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def pursued(master: Master, pids: list[int]) -> Callable[[], bool]:
    def gone() -> bool:
        master.look()
        return not any(map(lives, pids))

    return gone


def test_what_a_dead_worker_has_left_is_ended_and_buried() -> None:
    def work() -> None:
        master = Master()
        victim, left = master.fork(tree)
        _, others = master.fork(tree)
        master.look()

        master.kill(victim)
        master.orphans.end_left_by(1, victim)

        wait_until(pursued(master, left), SOON, "it is gone")
        assert len(left) == 2
        assert all(map(lives, others))
        master.pids.clear()
        master.orphans.end_all(lambda: True)

    assert in_a_worker(work) == 0


def test_no_process_but_those_left_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor waits meanwhile: with a hundred orphans it could miss its ping."""

    def work() -> None:
        monkeypatch.setattr(psutil, "pids", pytest.fail)
        monkeypatch.setattr(psutil.Process, "children", pytest.fail)  # reads all of /proc
        master = Master()
        victim, left = master.fork(tree)
        master.kill(victim)
        master.orphans.end_left_by(1, victim)
        wait_until(pursued(master, left), SOON, "it is gone")

    assert in_a_worker(work) == 0


def test_what_a_look_costs_does_not_grow_with_threads_and_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread forks the workers, as in the master. The kernel hands an orphan of theirs to
    the main thread, and only that one's listing is read."""

    def work() -> None:
        read: list[Path] = []
        read_text = Path.read_text

        def counted(path: Path) -> str:
            read.append(path)
            return read_text(path)

        master, forked, over = Master(), threading.Event(), threading.Event()
        found: list[int] = []

        def fork() -> None:
            for _ in range(3):
                found.extend(master.fork(daemon)[1])
            forked.set()
            over.wait(SOON)  # the children of a thread that has ended would be the main thread's

        threading.Thread(target=fork, daemon=True).start()
        assert forked.wait(SOON)
        monkeypatch.setattr(Path, "read_text", counted)

        master.look()

        assert len(read) == 1
        assert master.orphans._left_alone >= {*found}
        master.orphans.end_all(lambda: True)
        assert not any(map(lives, found))
        over.set()

    assert in_a_worker(work) == 0


def test_a_daemon_lives_until_the_service_stops() -> None:
    def work() -> None:
        master = Master()
        victim, left = master.fork(daemon)
        master.look()

        master.kill(victim)
        master.orphans.end_left_by(1, victim)
        master.look()

        assert master.orphans._cases == {}
        assert all(map(lives, left))
        master.orphans.end_all(lambda: False)
        assert not any(map(lives, left))

    assert in_a_worker(work) == 0


def test_whoever_is_left_before_the_death_is_known_is_taken_for_no_daemon() -> None:
    def work() -> None:
        master = Master()
        victim, left = master.fork(tree)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: has_ended(victim), SOON, "it is dead")
        master.look()  # before it is buried
        os.waitpid(victim, 0)
        master.look()  # and before that is told
        master.orphans.end_left_by(1, victim)
        wait_until(pursued(master, left), SOON, "it is gone")

    assert in_a_worker(work) == 0


def test_who_does_not_end_is_killed() -> None:
    def stubborn(writing: int) -> None:
        subprocess.Popen(["sh", "-c", "trap '' TERM; echo $$; exec sleep 600 >&-"], stdout=writing)

    def work() -> None:
        master = Master()
        victim, left = master.fork(stubborn)
        master.kill(victim)
        master.orphans.end_left_by(1, victim)
        master.now = time.monotonic()
        master.look()
        assert all(map(lives, left))
        master.now += GRACE_SECONDS
        wait_until(pursued(master, left), SOON, "it is gone")

    assert in_a_worker(work) == 0


@pytest.mark.parametrize("kill_children", [True, False])
def test_all_that_has_ended_is_waited_for(kill_children: bool) -> None:
    def work() -> None:
        master = Master()
        master.policy = Policy(kill_children=kill_children)
        _, left = master.fork(daemon)
        os.kill(left[0], signal.SIGKILL)
        wait_until(pursued(master, left), SOON, "no zombie is left")

    assert in_a_worker(work) == 0


def test_what_shall_live_on_does() -> None:
    def work() -> None:
        master = Master()
        master.policy = Policy(kill_children=False)
        victim, left = master.fork(tree)
        master.kill(victim)
        master.orphans.end_left_by(1, victim)
        master.look()
        master.orphans.end_all(lambda: True)
        assert all(map(lives, left))
        master.policy = Policy(kill_children=True)
        master.orphans.end_all(lambda: True)
        assert not any(map(lives, left))

    assert in_a_worker(work) == 0


def test_a_worker_that_is_just_forked_is_nobodys_orphan() -> None:
    """Its pid is not known yet, and cotyledon must wait for it."""

    def work() -> None:
        master = Master()
        with master.orphans._forking:
            pid = os.fork()
            if pid == 0:
                os._exit(7)
            wait_until(lambda: has_ended(pid), SOON, "it has ended")
            master.look()
            master.pids.add(pid)
        master.look()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7

    assert in_a_worker(work) == 0

"""One service a runtime directory, tested with real processes."""

import errno
import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pytest

from launcher.errors import AlreadyRunning, DirectoryUnusable
from launcher.supervise.processes.instance_lock import LOCK, Instance, WatchedDirectory


def claim(directory: Path) -> Instance:
    instance = Instance(str(directory), str(directory), "compute-launcher")
    instance.claim()
    return instance


@contextmanager
def process(action: Callable[[], object]) -> Iterator[int]:
    """A child that does `action` and then hangs; killed at the end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            action()
            os.write(writer, b"!")
            while True:
                signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"!"
        yield pid
    finally:
        os.close(reader)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_a_second_one_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with process(lambda: claim(tmp_path)) as pid, pytest.raises(AlreadyRunning) as caught:
        claim(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path} is in use by compute-launcher with pid {pid}; stop that one first or set "
        "another runtime_path"
    )
    assert caught.value.exit_status == 78


def test_the_directory_is_free_when_the_first_is_dead(tmp_path: Path) -> None:
    with process(lambda: claim(tmp_path)):
        pass

    claim(tmp_path)

    assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"


def test_another_directory_is_another_instance(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()

    with process(lambda: claim(tmp_path)):
        claim(tmp_path / "other")


def test_a_worker_that_outlives_its_master_does_not_hold_the_directory(tmp_path: Path) -> None:
    """The master forks a worker and is killed; the worker still has the descriptor open."""
    reader, writer = os.pipe()

    def be_master() -> None:
        claim(tmp_path)
        worker = os.fork()
        if worker == 0:
            while True:
                signal.pause()
        os.write(writer, f"{worker}\n".encode())

    with process(be_master):
        orphan = int(os.read(reader, 32))
    try:
        claim(tmp_path)
    finally:
        os.kill(orphan, signal.SIGKILL)
        os.close(reader)
        os.close(writer)


def test_a_worker_that_closes_its_copy_does_not_free_the_directory(tmp_path: Path) -> None:
    instance = claim(tmp_path)
    with process(instance.close_in_child):

        def claim_too() -> None:
            with pytest.raises(AlreadyRunning):
                claim(tmp_path)

        with process(claim_too):
            pass  # it got that far


def test_a_lock_without_a_pid_is_told_as_unknown(tmp_path: Path) -> None:
    def lock_only() -> None:
        claim(tmp_path)
        os.truncate(tmp_path / LOCK, 0)  # as in the moment before the pid is written

    with process(lock_only), pytest.raises(AlreadyRunning, match="with pid unknown"):
        Instance(str(tmp_path), str(tmp_path), "compute-launcher").claim()


def test_a_full_disk_costs_the_pid_and_not_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def claim_without_space() -> None:
        monkeypatch.setattr(os, "pwrite", Mock(side_effect=OSError(errno.ENOSPC, "No space left")))
        claim(tmp_path)

    (tmp_path / LOCK).write_text("4242\n")
    with process(claim_without_space), pytest.raises(AlreadyRunning, match="with pid unknown"):
        claim(tmp_path)


def test_what_was_not_lent_is_not_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = claim(tmp_path)
    monkeypatch.setattr(fcntl, "lockf", Mock(side_effect=OSError))
    instance.take_back()


def test_a_lock_file_that_cannot_be_opened_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir()

    with pytest.raises(DirectoryUnusable, match=rf"runtime_path = {tmp_path}: {LOCK} in it: "):
        claim(tmp_path)


def test_a_place_that_is_gone_when_it_is_first_looked_at_is_lost(tmp_path: Path) -> None:
    """A directory may be removed just as the service becomes ready."""
    (tmp_path / "file").touch()
    assert WatchedDirectory(tmp_path / "nowhere").lost()
    assert WatchedDirectory(tmp_path / "file" / "bus").lost()
    place = WatchedDirectory(tmp_path)
    assert not place.lost()


def test_a_program_does_not_inherit_the_lock(tmp_path: Path) -> None:
    assert not os.get_inheritable(claim(tmp_path)._descriptor)

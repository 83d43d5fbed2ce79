"""A few processes watch for deaths, and the others see to it that somebody does."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from launcher.unixbus import peer_deaths, watchers
from launcher.unixbus.directory import BusDirectory, open_directory
from launcher.unixbus.peer_deaths import Deaths
from launcher.unixbus.presence import Presence
from launcher.unixbus.recovery import Recovery
from launcher.unixbus.suspects import Suspects
from launcher.unixbus.watchers import PLACES
from tests.support.directories import short_directory
from tests.support.waiting import wait_until


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def directory(stack: ExitStack) -> BusDirectory:
    return open_directory(str(stack.enter_context(short_directory()) / "bus"))


@pytest.fixture
def watching(directory: BusDirectory) -> Iterator[list[Deaths]]:
    """Processes that have all places. Nobody watched before the first one, so that it looks."""
    made = [Deaths(directory, f"watcher-{number}") for number in range(PLACES)]
    assert [one.is_to_look() for one in made] == [True, *[False] * (PLACES - 1)]
    yield made
    for one in made:
        one.close()


@pytest.fixture
def others(directory: BusDirectory, watching: list[Deaths], stack: ExitStack) -> list[Deaths]:
    """Processes that came when all places were taken."""
    made = [Deaths(directory, f"other-{number}") for number in range(2)]
    for one in made:
        stack.callback(one.close)
    return made


def let_time_pass(monkeypatch: pytest.MonkeyPatch, *deaths: Deaths) -> None:
    """Have them try to get a place."""
    for one in deaths:
        monkeypatch.setattr(one, "_next", 0.0)


def test_a_few_watch_and_the_others_need_nothing_of_the_kernel(
    directory: BusDirectory,
    watching: list[Deaths],
    others: list[Deaths],
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert not any(one.blind for one in watching)
    assert [one.descriptor for one in others] == [-1, -1]
    assert caplog.text == ""

    dying = Presence(directory)
    dying.close_descriptors()

    assert all(one.read() == {dying.id} for one in watching)
    assert not any(one.is_to_look() for one in others)


def test_a_process_takes_the_place_of_one_that_left_and_looks_what_it_has_missed(
    directory: BusDirectory,
    watching: list[Deaths],
    others: list[Deaths],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watching.pop().close()
    dying = Presence(directory)
    dying.close_descriptors()
    suspects = Suspects(directory, others[0], Recovery(directory).recover)
    let_time_pass(monkeypatch, *others)
    assert suspects.due() == 0.0

    suspects.examine()

    assert not others[0].blind
    assert others[0].all_names() == set()  # it has cleaned up
    assert suspects.due() is None
    assert not others[1].is_to_look()
    assert others[1].blind


def test_a_look_that_fails_is_repeated(
    directory: BusDirectory, watching: list[Deaths], others: list[Deaths]
) -> None:
    while watching:
        watching.pop().close()
    looks: list[set[str]] = []

    def recover(names: set[str]) -> set[str]:
        looks.append(names)
        if len(looks) == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return set()

    fresh = Deaths(directory, "fresh")
    suspects = Suspects(directory, fresh, recover)
    with pytest.raises(OSError, match="open files"):
        suspects.examine()
    due = suspects.due()
    assert due is not None
    wait_until(lambda: time.monotonic() >= due, 10, "it is due again")
    suspects.examine()
    assert len(looks) == 2
    assert suspects.due() is None
    fresh.close()


def test_who_joins_when_all_that_watched_have_died_looks_at_once(
    directory: BusDirectory, watching: list[Deaths], others: list[Deaths]
) -> None:
    while watching:
        watching.pop().close()

    fresh = Deaths(directory, "fresh")

    assert fresh.is_to_look()
    assert not fresh.is_to_look()
    fresh.close()


def test_while_all_that_watch_are_stopped_one_of_the_others_looks(
    directory: BusDirectory,
    watching: list[Deaths],
    others: list[Deaths],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    let_time_pass(monkeypatch, *others)
    assert [one.is_to_look() for one in others] == [False, False]

    long_ago = time.time() - peer_deaths.LOOK_INTERVAL
    os.utime(Path(directory.at(watchers.NAME)), (long_ago, long_ago))
    let_time_pass(monkeypatch, *others)

    assert [one.is_to_look() for one in others] == [True, False]


def test_a_place_outlives_the_copies_of_a_forked_child(
    directory: BusDirectory, watching: list[Deaths]
) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            for one in watching:
                one.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)

    late = Deaths(directory, "late")

    assert late.blind


def test_without_a_file_to_lock_everybody_watches(directory: BusDirectory) -> None:
    Path(directory.at(watchers.NAME)).mkdir()
    made = [Deaths(directory, f"watcher-{number}") for number in range(PLACES + 1)]
    assert not any(one.blind for one in made)
    for one in made:
        one.close()

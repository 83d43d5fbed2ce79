"""The bus is swept when nobody listens, and else soon: what one process costs does not grow with
the number of its siblings."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from launcher.directories.beneath import Beneath
from launcher.unixbus import presence, sweeping
from launcher.unixbus.directory import BusDirectory, open_directory
from launcher.unixbus.driver_options import Settings
from launcher.unixbus.member import Member
from launcher.unixbus.peer_deaths import Deaths
from launcher.unixbus.presence import Presence
from launcher.unixbus.recovery import Recovery
from launcher.unixbus.spool import Spool
from launcher.unixbus.suspects import Suspects
from launcher.unixbus.sweeping import STAMP, Sweeping
from tests.support.directories import short_directory
from tests.support.waiting import wait_until

DEADLINE = 10.0  # seconds
LIMIT = 1_000_000
FEW, MANY = 3, 12


class World:
    """A bus, and sweepings of it that count."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self.directory: BusDirectory = open_directory(str(path))
        self._stack = stack
        self.swept: list[str] = []

    def join(self, name: str) -> Sweeping:
        entry = Presence(self.directory)
        self._stack.callback(entry.end)
        made = Sweeping(self.directory, entry.id, lambda: self.swept.append(name))
        self._stack.callback(made.close)
        made.join()
        return made

    def listen(self, number: int) -> Member:
        member = Member(str(self.path), Settings(None, LIMIT), ["builtins"])
        member.listen("exchange", "topic", f"server-{number}", 10)
        return member


@pytest.fixture
def world() -> Iterator[World]:
    with short_directory() as path, ExitStack() as stack:
        yield World(path / "bus", stack)


def count(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, calls: list[str]) -> None:
    """Have each call of a function add its name to `calls`."""
    function = getattr(owner, name)

    def counted(*args: Any) -> Any:
        calls.append(name)
        return function(*args)

    monkeypatch.setattr(owner, name, counted)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "SOON_SECONDS", 0.0)


def test_without_a_listener_each_process_sweeps_at_once(world: World) -> None:
    world.join("client")
    world.join("server").listen()

    assert world.swept == ["client", "server", "server"]  # again: one may have died in between


def test_while_a_process_listens_a_client_does_not_sweep(world: World) -> None:
    listening = world.join("server")
    listening.listen()
    world.swept.clear()

    client = world.join("client")
    client.catch_up()

    assert client.due() is None
    assert world.swept == []


def test_when_the_listener_has_ended_nobody_listens(world: World) -> None:
    listening = world.join("server")
    listening.listen()
    listening.close()
    world.swept.clear()

    world.join("client")

    assert world.swept == ["client"]


@pytest.mark.usefixtures("soon")
def test_one_that_begins_to_listen_beside_others_sweeps_soon_since_they_may_be_stopped(
    world: World,
) -> None:
    world.join("first").listen()
    world.swept.clear()
    second = world.join("second")
    second.listen()
    assert second.due() is not None
    assert world.swept == []

    def caught_up() -> bool:
        second.catch_up()
        return second.due() is None

    wait_until(caught_up, DEADLINE, "the sweep is over")
    assert world.swept == ["second"]


@pytest.mark.usefixtures("soon")
def test_of_many_that_begin_to_listen_one_sweeps_for_all(world: World) -> None:
    world.join("first").listen()
    world.swept.clear()
    others = [world.join(f"{number}") for number in range(MANY)]
    for other in others:
        other.listen()
    stamp = world.path / STAMP
    entries = [path.stat().st_mtime_ns for path in (world.path / "peers").iterdir()]
    os.utime(stamp, ns=(0, max(entries) + 1))  # somebody has swept since

    for other in others:
        other.catch_up()

    assert world.swept == []
    assert all(other.due() is None for other in others)


def test_without_a_usable_file_each_process_sweeps_at_once(world: World) -> None:
    (world.path / STAMP).symlink_to(world.path / "elsewhere")

    world.join("server").listen()
    world.join("client")

    assert world.swept == ["server", "server", "client"]


def test_what_a_worker_costs_does_not_grow_with_its_siblings(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It joins, listens and leaves. Nobody's lock is tried, nobody's queue is looked into."""
    looks: list[str] = []
    count(monkeypatch, Beneath, "names", looks)
    count(monkeypatch, presence, "lock_dead", looks)

    def cost(siblings: int) -> list[str]:
        others = [world.listen(number) for number in range(siblings)]
        looks.clear()
        world.listen(siblings).close()
        found = list(looks)
        for other in others:
            other.close()
        return found

    assert cost(FEW) == cost(MANY)
    assert "lock_dead" not in cost(FEW)


def test_the_queues_are_looked_through_once_for_many_deaths(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[str] = []
    count(monkeypatch, Spool, "claimed", looks)
    queue = Spool(world.directory, "queues/exchange,topic")
    queue.make()
    deaths = Deaths(world.directory, "own")
    suspects = Suspects(world.directory, deaths, Recovery(world.directory).recover)
    for _ in range(MANY):
        Presence(world.directory).close_descriptors()
    suspects.listen()
    assert not suspects.hearing  # of more deaths, for a moment

    def examined() -> bool:
        suspects.examine()
        return suspects.due() is None

    wait_until(examined, DEADLINE, "all are cleaned up after")
    assert looks == ["claimed"]
    assert suspects.hearing
    assert deaths.all_names() == set()
    deaths.close()


def test_only_one_process_cleans_up_at_a_time_but_for_one_that_does_not_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    deaths = Deaths(world.directory, "own")
    recover = Recovery(world.directory).recover
    slow, quick = (Suspects(world.directory, deaths, recover) for _ in range(2))
    quick.examine()  # since nobody watched before
    Presence(world.directory).close_descriptors()
    quick.listen()

    def refused() -> bool:
        quick.examine()
        return quick.hearing

    with slow._turn():
        wait_until(refused, DEADLINE, "it was not its turn")
        assert quick.due() is not None
        assert len(deaths.all_names()) == 1
        monkeypatch.setattr("launcher.unixbus.suspects.STALLED", 0.0)

        def examined() -> bool:
            quick.examine()
            return quick.due() is None

        wait_until(examined, DEADLINE, "it is waited for no longer")
    assert deaths.all_names() == set()
    deaths.close()


def test_others_that_leave_wake_nobody_but_a_lost_entry_of_our_own_is_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    own, other = Presence(world.directory), Presence(world.directory)
    deaths = Deaths(world.directory, own.id)

    other.end()
    with pytest.raises(BlockingIOError):
        os.read(deaths.descriptor, 1000)

    for _ in range(2):
        (world.path / "peers" / own.id).unlink()
        assert deaths.read() == set()
        assert f"{own.id} was removed while in use" in caplog.text
        assert own.mend()
        deaths.mend()
        assert deaths.read() == set()
        caplog.clear()
    deaths.close()
    own.end()

"""The start of a program's services: which wait belongs to a start, and which has no end."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from launcher.board.board import Board
from launcher.program import launching
from launcher.program.connecting import Connecting
from launcher.program.hosted import Hosted
from launcher.program.launching import Launching
from launcher.rabbit.troubles import Troubles
from tests.support.waiting import wait_until

SOON = 60.0


class World:
    """A launch of services that note who has started."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.servers = 0
        self.looks = 0  # of the launch at its services
        self.end = threading.Event()
        self.crashes: list[BaseException] = []
        self.services: list[Any] = []
        hosted = cast("list[Hosted]", self.services)
        self.launching = Launching(hosted, Connecting("x"), self._made)
        self.launching.on_crash = self.crashes.append

    def add(self, name: str, action: Callable[[], object] = lambda: None) -> None:
        """A service whose start function does this."""
        self.services.append(Service(self, name, action))

    def _made(self) -> int:
        self.looks += 1
        return self.servers

    def wait(self) -> None:
        """As a looping call's `wait`: without an end."""
        with self.launching.awaiting_end():
            assert self.end.wait(SOON)

    def wait_briefly(self) -> None:
        """Likewise: for some looks."""
        with self.launching.awaiting_end():
            self.let_look()

    def let_look(self) -> None:
        """Wait until the launch has looked some times."""
        enough = self.looks + 4
        wait_until(lambda: self.looks >= enough, SOON, "the launch looks")

    def run(self, timeout: float = SOON) -> None:
        slot = Board(1).slot(0)
        self.launching.run(slot, threading.Event(), Troubles(), timeout=timeout)


class Service:
    """A service, as far as a launch knows it."""

    def __init__(self, world: World, name: str, action: Callable[[], object]) -> None:
        self._world, self.name, self._action = world, name, action

    def start(self) -> None:
        """Act, and note it."""
        self._action()
        self._world.started.append(self.name)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.end.set()


def test_a_wait_that_ends_belongs_to_the_start(world: World) -> None:
    """Whether there is an RPC server or not."""

    def start() -> None:
        world.wait_briefly()
        world.servers += 1
        world.wait_briefly()

    world.add("first", start)
    world.add("second")
    world.run()
    assert world.started == ["first", "second"]
    assert world.launching.done.is_set()


def test_what_a_start_raises_after_its_wait_fails_the_launch(world: World) -> None:
    def start() -> None:
        world.wait_briefly()
        raise ZeroDivisionError

    world.add("first", start)
    with pytest.raises(ZeroDivisionError):
        world.run()
    assert world.crashes == []
    assert not world.launching.done.is_set()


def test_without_a_server_of_its_own_a_service_may_wait_for_half_of_the_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of another service does not count."""
    monkeypatch.setattr(launching, "WAITS_WITH_SERVER_SECONDS", 0.0)

    def serve() -> None:
        world.servers += 1

    world.add("other", serve)
    world.add("first", world.wait_briefly)
    world.add("second")
    world.run()
    assert world.started == ["other", "first", "second"]


@pytest.mark.parametrize("servers", [0, 1])
def test_a_wait_without_end_has_the_next_service_started(
    world: World, monkeypatch: pytest.MonkeyPatch, servers: int
) -> None:
    """A service that raises afterwards has crashed."""
    monkeypatch.setattr(launching, "WAITS_WITH_SERVER_SECONDS", 0.2)

    def start() -> None:
        world.servers += servers
        world.wait()
        raise ZeroDivisionError

    world.add("first", start)
    world.add("second")
    world.run(timeout=SOON if servers else 4)
    assert world.started == ["second"]
    assert world.launching.done.is_set()
    assert world.crashes == []
    world.end.set()
    wait_until(lambda: world.crashes, SOON, "it is told")
    assert isinstance(world.crashes[0], ZeroDivisionError)


def test_a_wait_in_another_thread_is_not_that_of_a_start(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launching, "WAITS_WITH_SERVER_SECONDS", 0.0)
    waiting = threading.Thread(target=world.wait)

    def start() -> None:
        world.servers += 1
        waiting.start()
        world.let_look()

    world.add("first", start)
    world.add("second")
    world.run()
    assert world.started == ["first", "second"]
    world.end.set()
    waiting.join(SOON)

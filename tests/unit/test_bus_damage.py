"""Files of a bus that are removed under a server are made anew at the server's next check."""

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import oslo_messaging
import pytest

from launcher.serve.rpc import expose
from launcher.serve.rpc_server import Server
from launcher.unixbus.directory import open_directory
from launcher.unixbus.presence import Presence
from tests.support.directories import find, short_directory
from tests.support.transports import configuration
from tests.support.waiting import wait_until

DEADLINE = 10.0
TARGET = oslo_messaging.Target(topic="compute", server="node-1")


class Endpoint:
    target = oslo_messaging.Target(version="1.0")

    def __init__(self) -> None:
        self.noted: SimpleQueue[object] = SimpleQueue()

    @expose
    def echo(self, context: Any, value: object) -> object:
        return value

    @expose
    def note(self, context: Any, value: object) -> None:
        self.noted.put(value)


class World:
    """A server, and a client of its own."""

    def __init__(self, path: Path) -> None:
        self.bus = path
        self.url = f"unix://{path}"
        self.transport = oslo_messaging.get_rpc_transport(configuration(self.url))
        self.endpoint = Endpoint()
        self.server = Server(self.transport, TARGET, [self.endpoint])
        self.server.start(self._wait)
        # The server's process also calls itself, to prove that it serves.
        self.client = self.make_client(self.transport)

    @staticmethod
    def _wait(event: threading.Event) -> None:
        assert event.wait(DEADLINE)

    @staticmethod
    def make_client(transport: Any, timeout: float = DEADLINE) -> Any:
        return oslo_messaging.get_rpc_client(transport, TARGET, timeout=timeout)

    def call_of_another(self, timeout: float = DEADLINE) -> object:
        """A call by a process that joins the bus now."""
        transport = oslo_messaging.get_rpc_transport(configuration(self.url))
        try:
            return self.make_client(transport, timeout).call({}, "echo", value=7)
        finally:
            transport.cleanup()

    def cast_of_another(self, value: object) -> None:
        """A cast by such a process. Its sender does not wait, and so checks nothing."""
        transport = oslo_messaging.get_rpc_transport(configuration(self.url))
        self.make_client(transport).cast({}, "note", value=value)
        transport.cleanup()

    def end(self) -> None:
        self.server.finish()
        self.transport.cleanup()


@pytest.fixture
def world() -> Iterator[World]:
    with short_directory() as directory:
        world = World(directory / "bus")
        yield world
        world.end()


def remove(pattern: str) -> Callable[[Path], None]:
    def damage(bus: Path) -> None:
        found = find(bus, pattern)
        assert found
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return damage


def move(pattern: str) -> Callable[[Path], None]:
    """A process that has it open does not notice."""

    def damage(bus: Path) -> None:
        found = find(bus, pattern)
        assert found
        for path in found:
            path.rename(path.with_name(f".old-{path.name}"))

    return damage


def put_a_file_for_the_fifo(bus: Path) -> None:
    for path in bus.glob("queues/*/wake"):
        path.unlink()
        path.touch()


def put_a_file_for_the_socket(bus: Path) -> None:
    for path in bus.glob("peers/*.sock"):
        path.unlink()
        path.touch()


def put_another_fifo(bus: Path) -> None:
    for path in bus.glob("queues/*/wake"):
        path.unlink()
        os.mkfifo(path, 0o600)


DAMAGES = [
    pytest.param(remove("queues/*compute"), id="queue of the topic"),
    pytest.param(remove("queues/*node-1"), id="queue of the host"),
    pytest.param(remove("queues"), id="queues"),
    pytest.param(remove("queues/*/wake"), id="FIFOs"),
    pytest.param(put_another_fifo, id="other FIFOs"),
    pytest.param(put_a_file_for_the_fifo, id="files in place of FIFOs"),
    pytest.param(remove("queues/*/new"), id="new"),
    pytest.param(remove("queues/*/cur"), id="cur"),
    pytest.param(remove("fanout"), id="fanout"),
    pytest.param(remove("peers/*.sock"), id="sockets"),
    pytest.param(put_a_file_for_the_socket, id="files in place of sockets"),
    pytest.param(remove("peers/*"), id="entries of peers"),
    pytest.param(remove("peers"), id="peers"),
    pytest.param(remove("replies"), id="replies"),
    pytest.param(remove("*"), id="all"),
    pytest.param(move("queues/*"), id="queues that are moved away"),
    pytest.param(move("queues"), id="all queues at once, moved away"),
    pytest.param(move("peers"), id="peers that are moved away"),
    pytest.param(move("replies"), id="replies that are moved away"),
    pytest.param(move("fanout"), id="fanout that is moved away"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_taken_away_is_made_anew(world: World, damage: Callable[[Path], None]) -> None:
    assert world.client.call({}, "echo", value=1) == 1
    damage(world.bus)

    world.server.verify(DEADLINE)

    assert world.client.call({}, "echo", value=2) == 2
    assert world.client.call({}, "echo", value="x" * 200_000) == "x" * 200_000
    assert world.call_of_another() == 7
    world.make_client(world.transport).prepare(fanout=True).cast({}, "echo", value=3)
    world.server.verify(DEADLINE)


@pytest.mark.parametrize("pattern", ["peers/*.sock", "replies/*", "peers", "replies"])
def test_a_client_in_a_process_of_its_own_is_answered_again(world: World, pattern: str) -> None:
    """Nobody asks it to look: it does so before it calls."""
    transport = oslo_messaging.get_rpc_transport(configuration(world.url))
    client = world.make_client(transport)
    assert client.call({}, "echo", value=1) == 1
    remove(pattern)(world.bus)
    world.server.verify(DEADLINE)

    assert client.call({}, "echo", value=2) == 2
    assert client.call({}, "echo", value="x" * 200_000) == "x" * 200_000
    transport.cleanup()


def test_who_dies_afterwards_is_cleaned_up_after(world: World) -> None:
    """Deaths are heard of in the directory that is there now."""
    remove("peers")(world.bus)
    world.server.verify(DEADLINE)
    dead = Presence(open_directory(str(world.bus)))
    entry = world.bus / "peers" / dead.id
    assert entry.exists()

    dead.close_descriptors()  # as the kernel does

    wait_until(lambda: not entry.exists(), DEADLINE, "its entry is removed")


def test_a_call_that_came_meanwhile_is_served(world: World) -> None:
    """Its sender made the queue, which had no listener."""
    remove("queues")(world.bus)
    answers: list[object] = []
    caller = threading.Thread(target=lambda: answers.append(world.call_of_another()))
    caller.start()
    while not (find(world.bus, "queues/*/new/*") or answers):  # it may find out by itself
        pass

    world.server.verify(DEADLINE)

    caller.join(DEADLINE)
    assert answers == [7]


def test_a_cast_that_came_meanwhile_is_served(world: World) -> None:
    """The listener that makes the queue anew also lists it: no second hint comes."""
    remove("queues")(world.bus)
    world.cast_of_another(8)

    world.server.verify(DEADLINE)

    assert world.endpoint.noted.get(timeout=DEADLINE) == 8


def test_who_waits_for_a_reply_goes_on_when_the_socket_is_made_anew(world: World) -> None:
    gate = threading.Event()
    Endpoint.hold = expose(lambda self, context: gate.wait(DEADLINE))  # type: ignore[attr-defined]
    answers: list[object] = []
    client = world.make_client(world.transport)
    caller = threading.Thread(target=lambda: answers.append(client.call({}, "hold")))
    caller.start()
    while not find(world.bus, "peers/*.sock"):
        pass
    remove("peers/*.sock")(world.bus)

    world.server.verify(DEADLINE)
    gate.set()

    caller.join(DEADLINE)
    assert answers == [True]


def test_nothing_is_touched_where_nothing_is_wrong(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def inodes() -> dict[str, int]:
        return {str(path): path.lstat().st_ino for path in world.bus.rglob("*")}

    assert world.client.call({}, "echo", value=1) == 1
    before = inodes()
    world.server.verify(DEADLINE)

    assert inodes() == before
    assert "made anew" not in caplog.text


def test_what_cannot_be_made_anew_is_said(world: World) -> None:
    remove("queues")(world.bus)
    (world.bus / "queues").write_text("a file")

    with pytest.raises(OSError, match="queues"):
        world.server.verify(1)

    (world.bus / "queues").unlink()
    world.server.verify(DEADLINE)
    assert world.call_of_another() == 7


def test_a_listener_whose_thread_stands_still_is_found(world: World) -> None:
    """The alt server of the worker would go on answering."""
    gate, held = threading.Event(), threading.Event()
    reader = world.server._server.listener._listener._reader
    read = reader.read

    def hold(*arguments: Any) -> Any:
        held.set()
        gate.wait(DEADLINE)
        return read(*arguments)

    reader.read = hold
    world.client.cast({}, "echo", value=1)
    assert held.wait(DEADLINE)
    with pytest.raises(TimeoutError, match="the listener does not answer within"):
        world.server.verify(0.1)
    gate.set()
    world.server.verify(DEADLINE)


def test_a_server_that_takes_no_more_calls_is_not_asked(world: World) -> None:
    world.server.stop_taking()

    world.server.verify(0.1)

"""Processes on a unix:// bus that are killed, stopped and restarted at any moment."""

import os
import shutil
import signal
import stat
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import oslo_messaging
import pytest

from launcher.unixbus.watchers import PLACES
from tests.functional.bus_processes import DEADLINE, TOPIC, Bus, open_bus
from tests.support.directories import short_directory
from tests.support.waiting import wait_until

CHAOS_SECONDS = 4.0
IDLE_SECONDS = 1.5
IN_PIPE = 16  # calls that wait in a FIFO; all others are files


@pytest.fixture
def bus() -> Iterator[Bus]:
    with short_directory() as directory, open_bus(directory) as bus:
        yield bus


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


def peers(bus: Bus) -> set[int]:
    """Pids of the processes that have an entry on the bus."""
    return {int(path.name.partition("-")[0]) for path in (bus.path / "peers").iterdir()}


def inotify_instances(pid: int) -> int:
    links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
    return links.count("anon_inode:inotify")


def switches(pid: int, thread: int) -> int:
    """How often a thread has gone to sleep of its own will."""
    status = Path(f"/proc/{pid}/task/{thread}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("voluntary"))
    return int(line.split()[1])


def test_what_a_killed_server_had_claimed_goes_to_one_that_listens(
    bus: Bus, pool: ThreadPoolExecutor
) -> None:
    holder = bus.start("holder", server="holder")
    call = pool.submit(bus.client().call, {}, "echo", value=1)
    bus.client().cast({}, "note", text="cast")
    holder.wait_for("held", 2)
    server = bus.server()

    holder.kill()

    assert call.result(DEADLINE) == 1
    server.wait_for("note", text="cast")
    bus.client().call({}, "note", text="later")
    assert [line["text"] for line in server.told("note")] == ["cast", "later"]
    assert bus.messages() == []


def test_what_a_killed_server_had_claimed_goes_to_the_next_one_that_starts(
    bus: Bus, pool: ThreadPoolExecutor
) -> None:
    holder = bus.start("holder", server="holder")
    call = pool.submit(bus.client().call, {}, "echo", value=1)
    assert holder.wait_for("held")["redelivered"] is False
    holder.kill()

    again = bus.start("holder", server="holder")
    assert again.wait_for("held")["redelivered"] is True
    assert again.told("held")[0]["args"] == {"value": 1}

    again.end()  # in order: it gives back what it has, and that is no death
    bus.server()
    assert call.result(DEADLINE) == 1


def test_few_processes_watch_for_the_deaths_of_all(bus: Bus) -> None:
    watching = [bus.server(f"watching-{number}") for number in range(PLACES)]
    other = bus.server("other")
    assert [inotify_instances(each.pid) for each in (*watching, other)] == [1] * PLACES + [0]

    other.kill()
    wait_until(lambda: other.pid not in peers(bus), DEADLINE, "its entry is removed")

    for each in watching:
        each.kill()
    fresh = bus.server("fresh")
    wait_until(lambda: peers(bus) == {fresh.pid}, DEADLINE, "their entries are removed")
    assert inotify_instances(fresh.pid) == 1


def test_what_killed_two_servers_is_dropped(bus: Bus, pool: ThreadPoolExecutor) -> None:
    call = pool.submit(bus.client().call, {}, "note", text="deadly")
    for _ in range(2):
        holder = bus.start("holder", server="holder")
        holder.wait_for("held")
        holder.kill()
    server = bus.server()

    with pytest.raises(
        oslo_messaging.RemoteError, match="2 servers died while they executed note"
    ):
        call.result(DEADLINE)
    assert "dropped message" in server.log
    assert server.told("note") == []


def test_a_stopped_server_keeps_what_it_has_until_it_dies(
    bus: Bus, pool: ThreadPoolExecutor
) -> None:
    holder = bus.start("holder", server="holder")
    call = pool.submit(bus.client().call, {}, "echo", value=1)
    holder.wait_for("held")
    claimed = bus.messages()
    holder.stop()

    server = bus.server()  # cleans up after the dead
    bus.client("s1").call({}, "who")
    assert bus.messages() == claimed
    assert not call.done()

    holder.kill()
    assert call.result(DEADLINE) == 1
    assert server.pid in peers(bus)


def test_a_stopped_server_does_not_keep_calls_from_the_others(bus: Bus) -> None:
    stopped, _ = bus.server("stopped"), bus.server("going")
    stopped.stop()
    client = bus.client(timeout=DEADLINE)

    assert [client.call({}, "who")[0] for _ in range(10)] == ["going"] * 10


def test_a_stopped_caller_keeps_no_server_from_others(bus: Bus) -> None:
    server = bus.server(query="?prefetch=4")
    caller = bus.start("caller")
    gate = bus.directory / "gate"
    for number in range(60):
        caller.order(id=number, method="until", args={"path": str(gate), "text": "in"})
    caller.wait_for("calling", 60)
    server.wait_for("note", 4)
    others = 56 - IN_PIPE
    wait_until(lambda: len(bus.waiting()) == others, DEADLINE, "they wait", show=bus.waiting)

    caller.stop()
    gate.touch()

    assert bus.client().call({}, "echo", value=1) == 1  # behind all of the caller's
    server.wait_for("note", 60)
    caller.signal(signal.SIGCONT)
    caller.wait_for("answer", 60)


def test_a_killed_caller_leaves_nothing_behind(bus: Bus) -> None:
    bus.server("another")
    caller = bus.start("caller")
    caller.order(id=1, method="echo", server="absent", args={"value": 1})
    wait_until(bus.messages, DEADLINE, "its call waits")
    assert caller.pid in peers(bus)

    caller.kill()

    wait_until(lambda: caller.pid not in peers(bus), DEADLINE, "it is cleaned up after")
    assert bus.messages() == []
    assert [name for name in bus.files() if f"/{caller.pid}-" in name] == []


def test_the_next_to_come_cleans_up_after_the_dead(bus: Bus) -> None:
    dead = [bus.server("s1"), bus.start("caller"), bus.start("holder", server="s2")]
    dead[1].order(id=1, method="echo", args={"value": 1})
    dead[1].wait_for("calling")
    for process in dead:
        process.kill()

    server = bus.server("s3")

    assert peers(bus) == {server.pid}
    (fanout,) = (bus.path / "fanout").glob("*/*")
    assert fanout.name.startswith(f"{server.pid}-")
    bus.client("s3").call({}, "who")
    assert bus.messages() == []


def test_who_leaves_in_order_leaves_nothing_behind(bus: Bus) -> None:
    server, caller = bus.server(), bus.start("caller")
    caller.order(id=1, method="large", args={"size": 100_000})
    caller.wait_for("answer")

    caller.end()
    server.end()

    kept = "swept", "watched", "/wake", "/calls"  # times and locks of all, and the queues
    assert [name for name in bus.files() if not name.endswith(kept)] == []
    assert list((bus.path / "fanout").glob("*/*")) == []
    assert list((bus.path / "replies").iterdir()) == []


def test_restarts_in_order_lose_no_call(bus: Bus, pool: ThreadPoolExecutor) -> None:
    """Eight threads call without a pause while each server in turn is replaced."""
    client = bus.client(timeout=DEADLINE)
    over = threading.Event()
    counts: list[Future[int]] = [pool.submit(call_until, over, client) for _ in range(8)]
    servers = [bus.server("s0"), bus.server("s1")]
    stops: list[float] = []

    for turn in range(4):
        replaced = servers[turn % 2]
        servers[turn % 2] = bus.server(f"s{turn + 2}")
        stops.append(replaced.end()["seconds"])

    over.set()
    assert all(count.result(DEADLINE) > 0 for count in counts)
    assert sorted(stops)[len(stops) // 2] < 0.1
    assert bus.messages() == []


def call_until(over: threading.Event, client: Any) -> int:
    """How many calls were answered; raises if one was not."""
    done = 0
    while not over.is_set():
        assert client.call({}, "echo", value=done) == done
        done += 1
    return done


def test_calls_wait_while_all_servers_restart(bus: Bus, pool: ThreadPoolExecutor) -> None:
    client = bus.client(timeout=DEADLINE)
    over = threading.Event()
    counts = [pool.submit(call_until, over, client) for _ in range(4)]
    for _ in range(3):
        bus.server().end()
    server = bus.server()
    over.set()

    assert all(count.result(DEADLINE) > 0 for count in counts)
    assert server.end()


def test_servers_killed_at_random_lose_no_call_if_they_acknowledge_late(
    bus: Bus, pool: ThreadPoolExecutor
) -> None:
    """And none is answered wrongly. What dies twice with a server is refused; with calls as
    short as these that is next to impossible."""
    client = bus.client(timeout=DEADLINE)
    servers = [bus.server(f"s{number}", late=True) for number in range(2)]
    over = threading.Event()
    counts = [pool.submit(call_until, over, client) for _ in range(4)]
    end = time.monotonic() + CHAOS_SECONDS
    turn = 0
    while time.monotonic() < end or turn < 4:
        servers[turn % 2].kill()
        servers[turn % 2] = bus.server(f"s{turn + 2}", late=True)
        turn += 1
    over.set()

    assert all(count.result(DEADLINE) > 0 for count in counts)
    wait_until(lambda: bus.messages() == [], DEADLINE, "all are acknowledged", show=bus.messages)


def test_callers_killed_at_random_disturb_nobody(bus: Bus, pool: ThreadPoolExecutor) -> None:
    server = bus.server()
    over = threading.Event()
    steady = pool.submit(call_until, over, bus.client(timeout=DEADLINE))
    for _ in range(4):
        caller = bus.start("caller")
        for number in range(20):
            caller.order(id=number, method="echo", args={"value": "x" * 50_000})
        caller.wait_for("answer")
        caller.kill()
    over.set()

    assert steady.result(DEADLINE) > 0
    wait_until(lambda: peers(bus) == {server.pid, os.getpid()}, DEADLINE, "only we are left")
    wait_until(lambda: bus.messages() == [], DEADLINE, "nothing waits", show=bus.messages)


def test_an_idle_listener_is_never_woken(bus: Bus) -> None:
    server = bus.server()
    thread = server.told("ready")[0]["listener"]
    client = bus.client()
    for _ in range(10):
        client.call({}, "echo", value=1)

    def undisturbed() -> bool:
        before = switches(server.pid, thread)
        end = time.monotonic() + IDLE_SECONDS
        wait_until(lambda: time.monotonic() > end, DEADLINE, "some time has passed")
        return switches(server.pid, thread) == before

    # Not always the first time: the last call may not quite be over.
    wait_until(undisturbed, DEADLINE, f"it sleeps for {IDLE_SECONDS} s")


def test_a_forked_child_has_a_place_of_its_own(bus: Bus, tmp_path: Path) -> None:
    """A transport that the parent used is used by its child, while the parent uses it too."""
    bus.server()
    target = oslo_messaging.Target(topic=TOPIC)
    client = oslo_messaging.get_rpc_client(bus.transport(), target, timeout=DEADLINE)
    assert client.call({}, "echo", value="before") == "before"
    mine = {path for path in (bus.path / "peers").iterdir() if f"{os.getpid()}-" in path.name}
    told = tmp_path / "told"

    child = os.fork()
    if child == 0:  # the child must not come back into pytest
        answer = b"failed"
        try:
            values = [client.call({}, "echo", value=number) for number in range(100)]
            own = [
                path for path in (bus.path / "peers").iterdir() if f"{os.getpid()}-" in path.name
            ]
            answer = b"well" if values == list(range(100)) and own else b"wrong"
        finally:
            told.write_bytes(answer)
            os._exit(0)
    values = [client.call({}, "echo", value=-number) for number in range(100)]
    os.waitpid(child, 0)

    assert told.read_text() == "well"
    assert values == [-number for number in range(100)]
    assert mine <= set((bus.path / "peers").iterdir())


def test_a_child_does_not_keep_its_dead_parent_alive(bus: Bus) -> None:
    """It was forked by a server, and has neither its lock nor its queues open."""
    parent = bus.server("parent")
    end = bus.directory / "end"
    child = bus.client("parent").call({}, "spawn", path=str(end))
    try:
        parent.kill()
        bus.server("sibling")

        wait_until(lambda: parent.pid not in peers(bus), DEADLINE, "it is cleaned up after")
        opened = {str(path.readlink()) for path in Path(f"/proc/{child}/fd").iterdir()}
        assert [name for name in opened if str(bus.path) in name] == []
    finally:
        end.touch()


def test_the_directory_is_private(bus: Bus) -> None:
    bus.server()

    assert stat.S_IMODE(bus.path.stat().st_mode) == 0o700


def test_a_client_finds_the_bus_again_that_was_removed_and_made_anew(bus: Bus) -> None:
    """As systemd does with the runtime directory of a service that is stopped and started."""
    client = bus.client()
    server = bus.server("s1")
    assert client.call({}, "who")[0] == "s1"
    server.end()
    shutil.rmtree(bus.path)

    bus.server("s2")
    assert client.call({}, "who")[0] == "s2"


def test_a_server_whose_bus_is_removed_says_so(bus: Bus) -> None:
    server = bus.server()
    shutil.rmtree(bus.path)

    wait_until(lambda: "was removed while in use" in server.log, DEADLINE, "it says so")
    server.end()

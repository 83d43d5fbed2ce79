"""Who may use a bus, what strangers leave in it, and a disk without room."""

import fcntl
import os
import random
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import oslo_messaging
import pytest
from oslo_config import cfg

from tests.functional.bus_processes import DEADLINE, Bus, open_bus
from tests.support.directories import short_directory

NOBODY = 65534
FULL_DISK = Path(__file__).with_name("bus_full_disk.py")
FUZZ_SEED = 20261123
FUZZ_ROUNDS = 300


@pytest.fixture
def bus() -> Iterator[Bus]:
    with short_directory() as directory, open_bus(directory) as bus:
        yield bus


@pytest.fixture
def nobodys(bus: Bus) -> Bus:
    """A bus in a directory of user nobody: the runtime directory of a service, say."""
    os.chown(bus.directory, NOBODY, NOBODY)
    return bus


def owners(bus: Bus) -> set[int]:
    found = {bus.path.lstat().st_uid}
    for top, directories, files in os.walk(bus.path):
        for name in directories + files:
            with suppress(FileNotFoundError):  # a draft that has its name by now
                found.add(Path(top, name).lstat().st_uid)
    return found


def test_the_directory_is_private(bus: Bus) -> None:
    bus.server()

    assert stat.S_IMODE(bus.path.stat().st_mode) == 0o700


def test_another_user_is_refused(bus: Bus) -> None:
    bus.directory.chmod(0o755)
    bus.server()

    stranger = bus.start("server", server="s2", uid=NOBODY, ready=False)
    refused = stranger.wait_for("failed")
    assert refused["kind"] == "ServerListenError"
    assert f"{bus.path} belongs to user 0, and this process is user {NOBODY}" in refused["text"]

    stranger = bus.start("caller", uid=NOBODY)
    stranger.order(id=1, method="who")
    refused = stranger.wait_for("error")
    assert refused["kind"] == "ClientSendError"
    assert f"{bus.path} belongs to user 0, and this process is user {NOBODY}" in refused["text"]
    assert owners(bus) == {0}


def test_root_is_refused_on_the_bus_of_another_user(nobodys: Bus) -> None:
    """His links would lead root anywhere; a command that root runs becomes him first."""
    nobodys.server(uid=NOBODY)

    refused = nobodys.start("server", server="s2", ready=False).wait_for("failed")
    assert refused["kind"] == "ServerListenError"
    assert f"belongs to user {NOBODY}, and this process is user 0" in refused["text"]
    with pytest.raises(oslo_messaging.ClientSendError, match="this process is user 0"):
        nobodys.client().call({}, "echo", value=1)
    assert owners(nobodys) == {NOBODY}


def test_root_makes_no_bus_where_another_user_rules(nobodys: Bus) -> None:
    with pytest.raises(oslo_messaging.ClientSendError, match="would not be safe"):
        nobodys.client().call({}, "echo", value=1)
    assert not nobodys.path.exists()


@pytest.mark.parametrize(
    ("url", "problem"),
    [("unix://run/bus", "host, user or port part"), ("unix:///" + "x" * 200, "too long")],
)
def test_a_url_that_names_no_bus_is_refused(url: str, problem: str) -> None:
    with pytest.raises(oslo_messaging.InvalidTransportURL, match=problem):
        oslo_messaging.get_rpc_transport(cfg.CONF, url=url)


def test_making_a_transport_touches_nothing(bus: Bus) -> None:
    transport = bus.transport()

    assert not bus.path.exists()
    transport.cleanup()


def test_a_directory_that_cannot_be_made_is_an_error_of_the_sender(bus: Bus) -> None:
    bus.path.touch()
    client = oslo_messaging.get_rpc_client(
        oslo_messaging.get_rpc_transport(cfg.CONF, url=f"{bus.url}/deeper"),
        oslo_messaging.Target(topic="topic"),
    )

    with pytest.raises(oslo_messaging.MessageDeliveryFailure, match="cannot be used: "):
        client.call({}, "who")


def test_garbage_everywhere_disturbs_nobody(bus: Bus) -> None:
    """Calls go on while a mad process scribbles all over the bus."""
    server = bus.server()
    client = bus.client(timeout=DEADLINE)
    dice = random.Random(FUZZ_SEED)

    for number in range(FUZZ_ROUNDS):
        scribble(bus, dice)
        if number % 10 == 0:
            assert client.call({}, "echo", value=number) == number

    assert client.call({}, "large", size=100_000) == "x" * 100_000
    assert bus.client("s1").call({}, "who")[0] == "s1"
    bus.client().prepare(fanout=True).cast({}, "note", text="last")
    server.wait_for("note", text="last")
    assert "Traceback" not in server.log
    bus.server("s2")  # and one that starts cleans up
    assert bus.client("s2").call({}, "who")[0] == "s2"


def scribble(bus: Bus, dice: random.Random) -> None:
    """One act of vandalism; none if what it hits is removed at the same time."""
    data = dice.choice([b"", b"{}", b"[" * 9999, b'{"version": 1}', dice.randbytes(300)])
    with suppress(OSError):
        places = [path for path in bus.path.rglob("*") if path.is_dir() and path.name != "new"]
        queues = list(bus.path.rglob("new"))
        real = [path.name for queue in queues for path in queue.iterdir()]
        sockets = list((bus.path / "peers").glob("*.sock"))
        name = dice.choice(["garbage", ".hidden", "\udcff", "x" * 255, "a@b", *real])
        match dice.randrange(8):
            case 0 | 1:
                scrawl(dice.choice(queues) / name, data)
            case 2:
                (dice.choice(queues) / name).mkdir()
            case 3:
                (dice.choice(queues) / f"{name}{dice.random()}").symlink_to(bus.path / "nothing")
            case 4:
                (dice.choice(places) / f"stray{dice.random()}").write_bytes(data)
            case 5:
                wake = dice.choice(queues).parent / "wake"
                with open(os.open(wake, os.O_WRONLY | os.O_NONBLOCK), "wb") as fifo:
                    fifo.write(data)
            case 6:
                calls = dice.choice(queues).parent / "calls"
                number = os.open(calls, os.O_WRONLY | os.O_NONBLOCK)
                fcntl.fcntl(number, fcntl.F_SETFL, os.O_NONBLOCK | os.O_DIRECT)
                with open(number, "wb", buffering=0) as pipe:
                    pipe.write(data)
            case 7:
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
                    stranger.sendto(data, socket.MSG_DONTWAIT, str(dice.choice(sockets)))


def scrawl(path: Path, data: bytes) -> None:
    """Write, but never through one of the links that we planted: tests may run as root."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)


def test_a_full_disk_is_told_to_who_sends_and_room_mends_it(bus: Bus) -> None:
    """On a disk of one megabyte, mounted for that process alone."""
    unshare = shutil.which("unshare")
    assert unshare is not None, "unshare(1) is part of util-linux"
    script = 'mount -t tmpfs -o size=1m,mode=0700 none "$1" && exec "$2" "$3" "$1"'
    bus.path.mkdir()
    command = [unshare, "--map-root-user", "--mount", "sh", "-ec", script, "sh"]

    done = subprocess.run(
        [*command, str(bus.path), sys.executable, str(FULL_DISK)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "small call: 1",
        "large cast: MessageDeliveryFailure: No space left on device",
        "large reply: RemoteError: MessageDeliveryFailure: No space left on device",
        "small call on a full disk: 1",
        "call on a full disk: MessageDeliveryFailure: No space left on device",
        "cast on a full disk: MessageDeliveryFailure: No space left on device",
        "retried until there was room: 5000",
        "call with room again: 3",
    ]

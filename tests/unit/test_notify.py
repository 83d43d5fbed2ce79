"""The protocol of sd_notify(3), spoken to a real datagram socket."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.supervise.watch.notify import STATUS_BYTES, Notifier
from tests.support.directories import short_directory


class Receiver:
    """systemd's end of the socket: reads only on request, so that its queue can fill."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.setblocking(False)

    def take(self) -> list[str]:
        """All messages that have arrived; a datagram arrives before its sender continues."""
        found = []
        while True:
            try:
                found.append(self.socket.recv(65536).decode("utf-8"))
            except BlockingIOError:
                return found


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as path:
        yield path


@pytest.fixture(params=["path", "abstract"])
def receiver(request: pytest.FixtureRequest, directory: Path) -> Iterator[Receiver]:
    prefix = "@" if request.param == "abstract" else ""
    receiver = Receiver(f"{prefix}{directory / 'notify'}")
    yield receiver
    receiver.socket.close()


@pytest.fixture
def notifier(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Notifier:
    return connect(monkeypatch, receiver.address)


def connect(monkeypatch: pytest.MonkeyPatch, address: str, **environ: str) -> Notifier:
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return Notifier.from_environment(os.environ)


def fill(notifier: Notifier) -> None:
    """Send until the receiver's queue is full."""
    sender = socket_of(notifier)
    for _ in range(10_000):
        try:
            sender.send(b"WATCHDOG=1")
        except BlockingIOError:
            return
    raise AssertionError("the queue never filled up")


def socket_of(notifier: Notifier) -> socket.socket:
    assert notifier._channel is not None
    sender = notifier._channel.socket
    assert isinstance(sender, socket.socket)
    return sender


def test_ready_ping_and_status_are_one_datagram(receiver: Receiver, notifier: Notifier) -> None:
    notifier.ready("4/4 workers serving")

    assert receiver.take() == ["READY=1\nWATCHDOG=1\nSTATUS=4/4 workers serving"]


@pytest.mark.parametrize("text", ["größer als üblich", "四个进程", "🦉 up", "naïve Ω"])
def test_status_is_utf_8(receiver: Receiver, notifier: Notifier, text: str) -> None:
    notifier.status(text)

    assert receiver.take() == [f"STATUS={text}"]


def test_a_name_that_is_no_utf_8_does_no_harm(receiver: Receiver, notifier: Notifier) -> None:
    notifier.status(f"cannot write {os.fsdecode(b'/srv/' + bytes([0xFF]))}")

    assert receiver.take() == ["STATUS=cannot write /srv/\\udcff"]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\x0b", "\x0c", "\x85", "\u2028"])
def test_a_status_cannot_smuggle_a_second_field(
    receiver: Receiver, notifier: Notifier, ending: str
) -> None:
    notifier.status(f"failed:{ending}MAINPID=1")

    assert receiver.take() == ["STATUS=failed: MAINPID=1"]


def test_a_long_status_is_cut_at_a_character(receiver: Receiver, notifier: Notifier) -> None:
    notifier.status("x" + "é" * STATUS_BYTES)

    assert receiver.take() == ["STATUS=x" + "é" * (STATUS_BYTES // 2 - 1)]


def test_a_status_is_sent_only_when_it_changes(receiver: Receiver, notifier: Notifier) -> None:
    for text in ("a", "a", "b", "b", "a"):
        notifier.status(text)

    assert receiver.take() == ["STATUS=a", "STATUS=b", "STATUS=a"]


def test_the_status_of_ready_is_not_repeated(receiver: Receiver, notifier: Notifier) -> None:
    notifier.ready("4/4 workers serving")
    notifier.status("4/4 workers serving")

    assert len(receiver.take()) == 1


def test_the_other_messages(receiver: Receiver, notifier: Notifier) -> None:
    notifier.ping()
    notifier.stopping("SIGTERM received")
    notifier.extend_timeout(2.5)
    notifier.failed(78, "option workers: no")

    assert receiver.take() == [
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=SIGTERM received",
        "EXTEND_TIMEOUT_USEC=2500000",
        "EXIT_STATUS=78\nSTATUS=option workers: no",
    ]


def test_a_reload_is_told_in_two_datagrams(receiver: Receiver, notifier: Notifier) -> None:
    before = time.monotonic_ns() // 1000

    notifier.reloading()
    notifier.reloaded()

    first, second = receiver.take()
    stamp = int(first.removeprefix("RELOADING=1\nMONOTONIC_USEC="))
    assert before <= stamp <= time.monotonic_ns() // 1000
    assert second == "READY=1"


def test_stopping_is_final(receiver: Receiver, notifier: Notifier) -> None:
    """A reload or the monitor may be about to send READY=1 while a stop begins."""
    notifier.stopping("SIGTERM received")
    notifier.ready("2/2 workers serving")
    notifier.reloading()
    notifier.reloaded()
    notifier.extend_timeout(1)
    notifier.failed(3, "gave up")
    assert receiver.take() == [
        "STOPPING=1\nSTATUS=SIGTERM received",
        "EXTEND_TIMEOUT_USEC=1000000",
        "EXIT_STATUS=3\nSTATUS=gave up",
    ]


def test_the_last_status_is_that_it_has_stopped(receiver: Receiver, notifier: Notifier) -> None:
    notifier.status("draining: 0 calls in 0 workers")
    notifier.stopped("stopped")

    assert receiver.take()[-1] == "STATUS=stopped"


def test_a_full_queue_never_blocks_and_ready_comes_later(
    receiver: Receiver, notifier: Notifier
) -> None:
    fill(notifier)

    notifier.ready("4/4 workers serving")
    notifier.flush()
    assert set(receiver.take()) == {"WATCHDOG=1"}

    notifier.flush()
    assert receiver.take() == ["READY=1\nWATCHDOG=1\nSTATUS=4/4 workers serving"]

    notifier.flush()
    assert receiver.take() == []


def test_a_status_that_found_the_queue_full_is_offered_again(
    receiver: Receiver, notifier: Notifier
) -> None:
    fill(notifier)
    notifier.status("degraded")
    receiver.take()

    notifier.status("degraded")

    assert receiver.take() == ["STATUS=degraded"]


def test_nothing_overtakes_what_is_owed(receiver: Receiver, notifier: Notifier) -> None:
    fill(notifier)
    notifier.ready("4/4 workers serving")
    notifier.stopping("SIGTERM received")
    receiver.take()

    notifier.ping()
    notifier.status("draining")
    assert receiver.take() == []

    notifier.flush()
    notifier.status("draining")
    assert [text.partition("\n")[0] for text in receiver.take()] == [
        "READY=1",
        "STOPPING=1",
        "STATUS=draining",
    ]


def test_the_last_word_is_offered_until_the_deadline(
    receiver: Receiver, notifier: Notifier
) -> None:
    fill(notifier)
    notifier.failed(3, "workers kept dying")

    begun = time.monotonic()
    notifier.flush_until(begun + 0.05)
    assert time.monotonic() - begun >= 0.05
    assert "EXIT_STATUS=3" not in str(receiver.take())

    notifier.flush_until(time.monotonic() + 5)
    assert receiver.take() == ["EXIT_STATUS=3\nSTATUS=workers kept dying"]


def test_a_receiver_that_is_gone_raises_nothing(receiver: Receiver, notifier: Notifier) -> None:
    receiver.socket.close()

    notifier.ready("4/4 workers serving")
    notifier.ping()
    notifier.status("degraded")

    notifier.flush_until(time.monotonic() + 60)  # returns at once: nobody is left to tell


def test_a_child_closes_its_copy_only(receiver: Receiver, notifier: Notifier) -> None:
    descriptor = socket_of(notifier).fileno()
    pid = os.fork()
    if pid == 0:
        notifier.close_in_child()
        notifier.ready("from the child")
        os._exit(1 if is_open(descriptor) else 0)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    notifier.ping()
    assert receiver.take() == ["WATCHDOG=1"]


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_the_descriptor_is_closed_by_an_exec(notifier: Notifier) -> None:
    assert not os.get_inheritable(socket_of(notifier).fileno())


def test_the_variables_are_gone_from_the_environment(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = str(os.getpid())

    connect(monkeypatch, receiver.address, WATCHDOG_USEC="3000000", WATCHDOG_PID=pid)

    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} & set(os.environ)


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [
        ("3000000", "ours", 3),
        ("3000000", "", 3),
        ("3000000", "1", 0),
        ("3000000", "x", 0),
        ("", "ours", 0),
        ("-5", "ours", 0),
        ("²", "ours", 0),
        ("3s", "ours", 0),
    ],
)
def test_the_watchdog_is_on_when_it_is_meant_for_us(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, usec: str, pid: str, seconds: float
) -> None:
    pid = str(os.getpid()) if pid == "ours" else pid

    notifier = connect(monkeypatch, receiver.address, WATCHDOG_USEC=usec, WATCHDOG_PID=pid)

    assert notifier.watchdog_seconds == seconds


def test_without_systemd_nothing_is_done_and_nothing_raised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")

    notifier = Notifier.from_environment(os.environ)

    assert notifier.watchdog_seconds == 0
    notifier.ready("4/4 workers serving")
    notifier.close_in_child()
    notifier.flush_until(time.monotonic() + 60)


@pytest.mark.parametrize("address", ["/nonexistent/notify", "@nobody-is-here", "/" + "x" * 200])
def test_a_socket_that_is_not_there_is_no_systemd(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    notifier = connect(monkeypatch, address, WATCHDOG_USEC="3000000")

    assert "NOTIFY_SOCKET" not in os.environ
    assert notifier.watchdog_seconds == 0
    notifier.ready("4/4 workers serving")


def test_a_status_commands_no_terminal(receiver: Receiver, notifier: Notifier) -> None:
    """systemd drops a whole message that has a NUL in it."""
    notifier.status("failed: \0 \x1b[2J \u202e")

    assert receiver.take() == [r"STATUS=failed: \x00 \x1b[2J \u202e"]


def test_only_the_master_in_charge_talks(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = connect(monkeypatch, receiver.address)
    new.keep_silent()
    new.status("starting")
    new.ready("2/2 workers serving")
    new.stopping("no")
    assert receiver.take() == []
    new = connect(monkeypatch, receiver.address)
    new.keep_silent()
    new.ready("2/2 workers serving")
    new.speak("2/2 workers serving")
    assert receiver.take() == ["READY=1\nWATCHDOG=1\nSTATUS=2/2 workers serving"]


def test_a_main_process_that_is_never_in_charge_tells_of_its_stop(
    receiver: Receiver, notifier: Notifier
) -> None:
    notifier.keep_silent()
    notifier.stopping("SIGTERM received")
    assert receiver.take() == []
    notifier.speak_of_stop("draining")
    notifier.ready("no")
    notifier.extend_timeout(10)
    assert receiver.take() == ["STOPPING=1\nSTATUS=draining", "EXTEND_TIMEOUT_USEC=10000000"]


def test_the_successor_is_named_last_of_all(receiver: Receiver, notifier: Notifier) -> None:
    assert notifier.name_successor(77, time.monotonic() + 1)
    notifier.ping()
    notifier.stopping("upgraded")
    assert receiver.take() == ["MAINPID=77"]


def test_systemd_that_does_not_take_it_changes_nothing(
    receiver: Receiver, notifier: Notifier
) -> None:
    fill(notifier)
    assert not notifier.name_successor(77, time.monotonic() + 0.05)
    receiver.take()
    notifier.status("goes on")
    assert receiver.take() == ["STATUS=goes on"]


def test_a_successor_that_nobody_is_told_of_is_not_in_charge(
    receiver: Receiver, notifier: Notifier
) -> None:
    """As when systemd's socket is gone, or could not be opened."""
    receiver.socket.close()
    assert not notifier.name_successor(77, time.monotonic() + 60)
    notifier.close_in_child()
    assert not notifier.name_successor(77, time.monotonic() + 60)


def test_what_was_taken_out_of_the_environment_can_be_handed_on(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    notifier = connect(monkeypatch, receiver.address, WATCHDOG_USEC="5")
    assert notifier.variables == {"NOTIFY_SOCKET": receiver.address, "WATCHDOG_USEC": "5"}

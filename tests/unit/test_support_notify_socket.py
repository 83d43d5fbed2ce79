"""The test side of sd_notify hears every datagram as it was sent, and by whom."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.notify_socket import NotifySocket

SEND = """
import socket, sys
address = sys.argv[1].replace("@", "\\0", 1)
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1\\nSTATUS=from a child", address)
"""


@pytest.fixture(params=["path", "abstract"])
def notify(request: pytest.FixtureRequest) -> Iterator[NotifySocket]:
    with NotifySocket(abstract=request.param == "abstract") as opened:
        yield opened


def send(notify: NotifySocket, *texts: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        for text in texts:
            sender.sendto(text.encode(), notify.address.replace("@", "\0", 1))


def test_a_message_is_known_with_its_fields_its_time_and_its_sender(notify: NotifySocket) -> None:
    before = time.monotonic()
    child = subprocess.Popen([sys.executable, "-c", SEND, notify.address])
    assert child.wait() == 0

    message = notify.wait_for("READY=1", 10)

    assert message.fields == {"READY": "1", "STATUS": "from a child"}
    assert (message.pid, message.uid) == (child.pid, os.getuid())
    assert before <= message.at <= time.monotonic()


def test_messages_are_kept_in_their_order(notify: NotifySocket) -> None:
    send(notify, "STATUS=ä\nREADY=1", "WATCHDOG=1", "STATUS=ö = 1")

    notify.wait_for("STATUS=ö = 1", 10)

    assert notify.lines == ["STATUS=ä", "READY=1", "WATCHDOG=1", "STATUS=ö = 1"]
    assert notify.values("STATUS") == ["ä", "ö = 1"]
    assert [message.lines for message in notify.messages] == [
        ["STATUS=ä", "READY=1"],
        ["WATCHDOG=1"],
        ["STATUS=ö = 1"],
    ]


def test_a_second_ready_is_told_from_the_first(notify: NotifySocket) -> None:
    send(notify, "READY=1")
    first = notify.wait_for("READY=1", 10)
    with pytest.raises(AssertionError):
        notify.wait_for("READY=1", 0.01, after=first)

    send(notify, "READY=1")

    assert notify.wait_for("READY=1", 10, after=first) != first


def test_what_does_not_come_is_named_beside_what_came_instead(notify: NotifySocket) -> None:
    send(notify, "STATUS=starting")
    notify.wait_for("STATUS=starting", 10)
    with pytest.raises(AssertionError, match=r"READY=1 was sent; .*\['STATUS=starting'\]"):
        notify.wait_for("READY=1", 0.01)


def test_a_word_of_a_status_is_not_mistaken_for_an_assignment(notify: NotifySocket) -> None:
    send(notify, "STATUS=not yet READY=1")
    notify.wait_for("STATUS=not yet READY=1", 10)
    with pytest.raises(AssertionError):
        notify.wait_for("READY=1", 0.01)


def test_a_socket_on_a_path_leaves_nothing_behind() -> None:
    with NotifySocket() as notify:
        path = Path(notify.address)
        assert path.is_socket()
    assert not path.parent.exists()


def test_what_was_sent_is_known_though_the_receiving_thread_does_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else the last word of a process that has ended is missing at times."""
    monkeypatch.setattr(NotifySocket, "_receive", lambda _: None)
    with NotifySocket() as notify:
        send(notify, "STATUS=first", "STATUS=last")
        assert notify.values("STATUS") == ["first", "last"]

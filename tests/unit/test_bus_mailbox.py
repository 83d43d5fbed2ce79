"""Replies reach their callers, by the socket or as files."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from launcher.unixbus.directory import BusDirectory, open_directory
from launcher.unixbus.mailbox import _READ, Closed, Mailbox
from launcher.unixbus.presence import Presence
from launcher.unixbus.replies import Replies
from launcher.unixbus.reply_address import INLINE_BYTES
from launcher.unixbus.wire import REPLY, WORKING, Reply
from tests.support.directories import short_directory
from tests.support.waiting import elapse, wait_until

LIMIT = 10_000_000
DEADLINE = 10.0  # seconds
LARGE = b"x" * (INLINE_BYTES + 1)


@pytest.fixture
def directory() -> Iterator[BusDirectory]:
    with short_directory() as path:
        yield open_directory(str(path / "bus"))


@pytest.fixture
def caller(directory: BusDirectory) -> Iterator[Presence]:
    caller = Presence(directory)
    yield caller
    caller.end()


@pytest.fixture
def mailbox(directory: BusDirectory, caller: Presence) -> Iterator[Mailbox]:
    mailbox = Mailbox(directory, caller.id, LIMIT)
    yield mailbox
    mailbox.close()
    mailbox.close_descriptors()


@pytest.fixture
def replies(directory: BusDirectory) -> Replies:
    return Replies(directory)


def soon() -> float:
    return time.monotonic() + DEADLINE


def stored(directory: BusDirectory, caller: Presence) -> list[Path]:
    return list(Path(directory.at("replies", caller.id)).iterdir())


@pytest.mark.parametrize("body", [b"", b"small", LARGE, LARGE * 100])
def test_a_reply_of_any_size_arrives(
    mailbox: Mailbox, replies: Replies, caller: Presence, directory: BusDirectory, body: bytes
) -> None:
    slot = mailbox.expect(7)

    assert replies.send(caller.id, 7, REPLY, body)

    assert mailbox.wait(slot, soon()) == Reply(REPLY, 7, body)
    assert stored(directory, caller) == []


def test_signs_of_life_come_before_the_reply(
    mailbox: Mailbox, replies: Replies, caller: Presence
) -> None:
    slot = mailbox.expect(1)
    replies.send_if_easy(caller.id, 1, WORKING)
    replies.send(caller.id, 1, REPLY, b"done")

    received = [mailbox.wait(slot, soon()) for _ in range(2)]

    assert [each.kind for each in received if each] == [WORKING, REPLY]


@pytest.mark.parametrize("size", [3, INLINE_BYTES - 100])  # the latter fill the sender's buffer
def test_no_reply_is_lost_when_the_queue_is_full(
    mailbox: Mailbox, replies: Replies, caller: Presence, directory: BusDirectory, size: int
) -> None:
    """The caller does not read for a while, as if stopped. No server waits for it."""
    slots = {number: mailbox.expect(number) for number in range(1, 101)}
    begun = time.monotonic()
    for number in slots:
        assert replies.send(caller.id, number, REPLY, b"%*d" % (size, number))
    assert time.monotonic() - begun < DEADLINE
    assert stored(directory, caller)  # the replies that did not fit into the socket

    for number, slot in slots.items():
        assert mailbox.wait(slot, soon()) == Reply(REPLY, number, b"%*d" % (size, number))
    assert stored(directory, caller) == []


def test_one_caller_that_does_not_read_keeps_no_reply_from_another(
    directory: BusDirectory, mailbox: Mailbox, replies: Replies, caller: Presence
) -> None:
    deaf = Presence(directory)
    deaf_mailbox = Mailbox(directory, deaf.id, LIMIT)
    for number in range(50):
        replies.send(deaf.id, number, REPLY, b"x" * (INLINE_BYTES - 100))

    slot = mailbox.expect(1)
    replies.send(caller.id, 1, REPLY, b"y" * (INLINE_BYTES - 100))

    assert mailbox.wait(slot, soon()) is not None
    assert stored(directory, caller) == []
    deaf_mailbox.close()
    deaf_mailbox.close_descriptors()
    deaf.end()


def test_without_a_reply_the_wait_ends_in_time(mailbox: Mailbox) -> None:
    slot = mailbox.expect(1)
    begun = time.monotonic()

    assert mailbox.wait(slot, begun + 0.05) is None
    assert 0.05 <= time.monotonic() - begun < DEADLINE


def test_a_reply_that_is_there_is_taken_even_if_the_time_is_over(
    mailbox: Mailbox, replies: Replies, caller: Presence
) -> None:
    """A caller that was stopped finds its reply, however late it is."""
    slot = mailbox.expect(1)
    replies.send(caller.id, 1, REPLY, b"")

    assert mailbox.wait(slot, time.monotonic() - 1) is not None


def test_replies_to_calls_that_are_over_are_dropped(
    mailbox: Mailbox, replies: Replies, caller: Presence
) -> None:
    mailbox.expect(1)
    mailbox.forget(1)
    replies.send(caller.id, 1, REPLY, b"late")
    slot = mailbox.expect(2)
    replies.send(caller.id, 2, REPLY, b"in time")

    assert mailbox.wait(slot, soon()) == Reply(REPLY, 2, b"in time")


def test_each_of_many_callers_gets_its_own(
    mailbox: Mailbox, replies: Replies, caller: Presence
) -> None:
    """One caller at a time reads for all; when it has its reply it appoints another."""
    threads_count, rounds = 16, 50
    wrong: list[object] = []
    served: list[int] = []

    def call(thread: int) -> None:
        for turn in range(rounds):
            number = thread * rounds + turn + 1
            slot = mailbox.expect(number)
            answer = threading.Thread(
                target=replies.send, args=(caller.id, number, REPLY, b"%d" % number)
            )
            answer.start()
            reply = mailbox.wait(slot, soon())
            mailbox.forget(number)
            answer.join()
            if reply != Reply(REPLY, number, b"%d" % number):
                wrong.append(reply)
            served.append(number)

    threads = [threading.Thread(target=call, args=(n,)) for n in range(threads_count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(served) == threads_count * rounds


def test_the_socket_is_handed_on_by_a_caller_that_gives_up(
    mailbox: Mailbox, replies: Replies, caller: Presence
) -> None:
    impatient, patient = mailbox.expect(1), mailbox.expect(2)
    got: list[Reply | None] = []
    first = threading.Thread(target=mailbox.wait, args=(impatient, time.monotonic() + 0.05))
    second = threading.Thread(target=lambda: got.append(mailbox.wait(patient, soon())))
    first.start()
    second.start()

    first.join()
    replies.send(caller.id, 2, REPLY, b"")
    second.join()

    assert got == [Reply(REPLY, 2, b"")]


def test_an_appointment_that_was_handed_on_is_void(
    mailbox: Mailbox, replies: Replies, caller: Presence
) -> None:
    """It reaches a caller that has just given up, and that waits again a moment later."""
    reading, again = mailbox.expect(1), mailbox.expect(2)
    got: list[Reply | None] = []
    reader = threading.Thread(target=lambda: got.append(mailbox.wait(reading, soon())))
    reader.start()
    wait_until(lambda: mailbox._reader is reading, DEADLINE, "one caller reads")
    again.put(_READ)

    assert mailbox.wait(again, time.monotonic() + 0.05) is None

    replies.send(caller.id, 1, REPLY, b"")
    reader.join()
    assert got == [Reply(REPLY, 1, b"")]


def test_who_reads_goes_on_to_the_socket_that_is_made_anew(
    mailbox: Mailbox, replies: Replies, caller: Presence, directory: BusDirectory
) -> None:
    """At once, not when it gives up waiting at the old one."""
    slot = mailbox.expect(1)
    got: list[Reply | None] = []
    wait = partial(mailbox.wait, slot, time.monotonic() + 6 * DEADLINE)
    reader = threading.Thread(target=lambda: got.append(wait()), daemon=True)
    reader.start()
    wait_until(lambda: mailbox._reader is slot, DEADLINE, "it reads")
    elapse(0.1)  # in which it begins to wait
    Path(directory.at("peers", f"{caller.id}.sock")).unlink()

    assert mailbox.mend()
    replies.send(caller.id, 1, REPLY, b"")

    reader.join(DEADLINE)
    assert got == [Reply(REPLY, 1, b"")]


def test_who_reads_when_the_mailbox_is_closed_is_told(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of its wait, and then the end of the descriptor, before it reads."""

    def close(seconds: float) -> bool:
        mailbox.close()
        mailbox.close_descriptors()
        return True

    monkeypatch.setattr(mailbox._address, "wait", close)
    with pytest.raises(Closed):
        mailbox.wait(mailbox.expect(1), soon())


def test_who_waits_when_the_mailbox_is_closed_is_told(mailbox: Mailbox) -> None:
    told: list[str] = []

    def wait(number: int) -> None:
        try:
            mailbox.wait(mailbox.expect(number), soon())
        except Closed:
            told.append("closed")

    threads = [threading.Thread(target=wait, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(mailbox._idle) == 2, DEADLINE, "one caller reads, two wait")
    mailbox.close()
    for thread in threads:
        thread.join()

    assert told == ["closed"] * 3
    with pytest.raises(Closed):
        mailbox.wait(mailbox.expect(4), soon())


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"1 reply 1", b"x" * (INLINE_BYTES * 2)])
def test_garbage_is_dropped_with_a_warning(
    mailbox: Mailbox,
    caller: Presence,
    directory: BusDirectory,
    caplog: pytest.LogCaptureFixture,
    data: bytes,
) -> None:
    replies = Replies(directory)
    slot = mailbox.expect(1)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(data, directory.at("peers", f"{caller.id}.sock"))
    Path(directory.at("replies", caller.id, "2")).write_bytes(data)
    replies.send(caller.id, 1, REPLY, b"")

    assert mailbox.wait(slot, soon()) is not None
    mailbox.look()
    assert "dropped a datagram" in caplog.text
    assert "removed reply" in caplog.text
    assert stored(directory, caller) == []


def test_a_datagram_of_an_untrusted_user_is_dropped(
    directory: BusDirectory, caller: Presence, caplog: pytest.LogCaptureFixture
) -> None:
    directory.trusted = frozenset({65534})
    mailbox = Mailbox(directory, caller.id, LIMIT)
    slot = mailbox.expect(1)

    Replies(directory).send(caller.id, 1, REPLY, b"")

    assert mailbox.wait(slot, time.monotonic() + 0.05) is None
    assert f"from user {os.getuid()}" in caplog.text
    mailbox.close()
    mailbox.close_descriptors()


@pytest.mark.parametrize("body", [b"small", LARGE])
def test_a_caller_that_has_gone_is_no_error(
    directory: BusDirectory, replies: Replies, caller: Presence, body: bytes
) -> None:
    mailbox = Mailbox(directory, caller.id, LIMIT)
    mailbox.close()
    mailbox.close_descriptors()

    assert not replies.send(caller.id, 1, REPLY, body)
    replies.send_if_easy(caller.id, 1, WORKING)


def test_a_socket_that_nobody_has_open_is_a_caller_that_has_gone(
    directory: BusDirectory, replies: Replies, caller: Presence
) -> None:
    """The process was killed, and no sibling has cleaned up yet."""
    mailbox = Mailbox(directory, caller.id, LIMIT)
    mailbox.close_descriptors()

    assert not replies.send(caller.id, 1, REPLY, b"")

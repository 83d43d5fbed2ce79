"""A call goes through a pipe, and is lost by nobody's death."""

import errno
import fcntl
import logging
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from pickle import PickleBuffer
from socket import SOCK_DGRAM
from typing import Any

import pytest

from launcher.unixbus.call_pipes import CallPipe, CallPipes
from launcher.unixbus.calls import Call
from launcher.unixbus.driver_options import Settings
from launcher.unixbus.fifo_contents import bytes_in
from launcher.unixbus.journal import PAGES, Journal, reclaim
from launcher.unixbus.listener import UnixListener
from launcher.unixbus.member import Member
from launcher.unixbus.message_name import CALL, MessageName, new_name
from launcher.unixbus.presence import Presence
from launcher.unixbus.recovery import Recovery
from launcher.unixbus.replies import MOST_KEPT, Replies
from launcher.unixbus.spool import Spool
from launcher.unixbus.wire import REPLY, Message, decode_packet, encode_message, encode_packet
from tests.support.directories import short_directory
from tests.support.waiting import wait_until

ADDRESS = ("exchange", "topic")
DEADLINE = 10.0  # seconds
IN_PIPE = 16  # packets that a FIFO takes


class Bus:
    """A server and a client."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.path = path
        self._stack = stack
        self._pool = stack.enter_context(ThreadPoolExecutor(2 * IN_PIPE))
        self.client = self.join()  # its end is that of the calls
        self.queue = self.client.queue(*ADDRESS)
        self.queue.make()

    def visit(self) -> Member:
        """One that is to die."""
        return Member(str(self.path), Settings(None, 1_000_000), ["builtins"])

    def join(self) -> Member:
        member = self.visit()
        self._stack.callback(member.close)
        return member

    def listen(self, member: Member | None = None, room: int = 100) -> UnixListener:
        return (member or self.join()).listen(*ADDRESS, "server", room)

    def call(self, number: object, timeout: float = DEADLINE) -> "Future[Any]":
        """In another thread."""
        call = Call({}, {"n": number}, "topic", timeout, None, None)
        return self._pool.submit(self.client.caller().call, self.queue, call)

    def sent(self, number: object, timeout: float = DEADLINE) -> "Future[Any]":
        """The same, once it is in the pipe or a file."""
        before = self.in_pipe + len(self.queue.waiting())
        future = self.call(number, timeout)
        wait_until(
            lambda: self.in_pipe + len(self.queue.waiting()) > before, DEADLINE, "it is sent"
        )
        return future

    @property
    def in_pipe(self) -> int:
        """Bytes."""
        descriptor = self.queue.open_calls(os.O_RDWR)
        try:
            return bytes_in(descriptor)
        finally:
            os.close(descriptor)

    @property
    def files(self) -> list[str]:
        claimed = [name for _, name, _ in self.queue.claimed()]
        return [*self.queue.waiting(), *claimed]


@pytest.fixture
def bus() -> Iterator[Bus]:
    with short_directory() as path, ExitStack() as stack:
        yield Bus(path / "bus", stack)


def take(listener: UnixListener, timeout: float = DEADLINE) -> Any:
    """The next message; None: there is none."""
    messages = listener.poll(timeout)
    return messages[0] if messages else None


def finish(message: Any) -> Any:
    """Acknowledge it and reply with its number; returns that."""
    message.acknowledge()
    message.reply(message.message["n"])
    return message.message["n"]


def die(member: Member, *in_hand: Any) -> None:
    """What the kernel does for a process that was killed."""
    for message in in_hand:
        message.claim.settled = True  # so that it does not put them back
    member.close_descriptors()


def test_a_small_call_has_no_file(bus: Bus) -> None:
    listener = bus.listen()
    answer = bus.call(1)

    message = take(listener)

    assert bus.files == []
    assert message.awaited
    assert not message.redelivered
    finish(message)
    assert answer.result(DEADLINE) == 1


def test_a_call_that_is_larger_than_a_packet_is_a_file(bus: Bus) -> None:
    listener = bus.listen()
    answer = bus.call("x" * 5000)

    message = take(listener)

    assert len(bus.files) == 1
    assert finish(message) == answer.result(DEADLINE)


def test_a_call_that_nobody_listens_to_is_a_file(bus: Bus) -> None:
    answer = bus.call(1)
    wait_until(lambda: bus.files, DEADLINE, "it is stored")

    finish(take(bus.listen()))

    assert answer.result(DEADLINE) == 1


def test_a_server_of_an_earlier_release_gets_files(bus: Bus) -> None:
    """It knows of no pipe, and neither does its queue."""
    listener = bus.listen()
    Path(bus.queue.directory.at(bus.queue.place, "calls")).unlink()

    answer = bus.call(1)
    wait_until(lambda: bus.files, DEADLINE, "it is stored")
    finish(take(listener))

    assert answer.result(DEADLINE) == 1


def test_a_kernel_without_packets_gets_files(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.EINVAL, "Invalid argument")

    listener = bus.listen()
    monkeypatch.setattr(fcntl, "fcntl", refuse)

    answer = bus.call(1)
    wait_until(lambda: bus.files, DEADLINE, "it is stored")
    finish(take(listener))

    assert answer.result(DEADLINE) == 1


def test_what_a_full_pipe_has_no_room_for_is_a_file_and_both_are_taken_in_turn(bus: Bus) -> None:
    listener = bus.listen()
    answers = [bus.sent(number) for number in range(IN_PIPE + 4)]
    assert len(bus.queue.waiting()) == 4

    order = [finish(take(listener)) for _ in answers]

    assert sorted(order) == list(range(IN_PIPE + 4))
    assert sorted(order[:8]) == [*range(4), *range(IN_PIPE, IN_PIPE + 4)]
    assert [answer.result(DEADLINE) for answer in answers] == list(range(IN_PIPE + 4))


def test_a_full_server_leaves_calls_to_its_sibling(bus: Bus) -> None:
    full, sibling = bus.listen(room=1), bus.listen()
    answers = [bus.sent(1)]
    message = take(full)
    answers.append(bus.sent(2))

    assert take(full, timeout=0.02) is None
    assert finish(take(sibling)) == 2

    finish(message)
    assert [answer.result(DEADLINE) for answer in answers] == [1, 2]


def test_servers_take_turns(bus: Bus) -> None:
    """Both wait when a call comes; the one that has had its turn goes to the end of the list."""
    taken: list[int] = []
    listeners = [bus.listen(), bus.listen()]
    over = threading.Event()

    def serve(number: int) -> None:
        while not over.is_set():
            if message := take(listeners[number], timeout=0.2):
                taken.append(number)
                finish(message)

    threads = [threading.Thread(target=serve, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()

    def waits(listener: UnixListener) -> bool:
        return bool(listener._watches and listener._inside and not listener._turn.locked())

    for number in range(20):
        wait_until(lambda: all(waits(each) for each in listeners), DEADLINE, "both wait")
        bus.call(number).result(DEADLINE)
    over.set()
    for thread in threads:
        thread.join()

    assert min(taken.count(0), taken.count(1)) >= 5


def test_what_a_dead_server_had_in_hand_goes_to_a_sibling_with_a_mark(bus: Bus) -> None:
    victim = bus.visit()
    answer = bus.call(1)
    message = take(bus.listen(victim))
    die(victim, message)

    again = take(bus.listen())  # cleans up as it joins

    assert again.redelivered
    assert again.msg_id == message.msg_id
    finish(again)
    assert answer.result(DEADLINE) == 1
    assert list((bus.path / "held").glob(f"{victim._presence.id}.*")) == []


def test_what_a_dead_server_had_acknowledged_is_lost(bus: Bus) -> None:
    victim = bus.visit()
    listener = bus.listen(victim)
    bus.call(1)
    take(listener).acknowledge()
    die(victim)

    assert take(bus.listen(), timeout=0.02) is None


def test_a_call_whose_servers_die_is_given_up(bus: Bus) -> None:
    answer = bus.call(1)
    for _ in range(2):
        victim = bus.visit()
        die(victim, take(bus.listen(victim)))

    assert take(bus.listen(), timeout=0.02) is None
    with pytest.raises(Exception, match="2 servers died while they executed None"):
        answer.result(DEADLINE)


def test_a_call_in_the_pipe_outlives_all_servers(bus: Bus) -> None:
    victim = bus.visit()
    bus.listen(victim)
    answer = bus.sent(1)
    die(victim)

    message = take(bus.listen())

    assert not message.redelivered
    finish(message)
    assert answer.result(DEADLINE) == 1


def test_calls_in_a_pipe_that_was_removed_become_files(bus: Bus) -> None:
    victim = bus.visit()
    bus.listen(victim)
    answers = [bus.sent(number) for number in range(3)]
    shutil.rmtree(bus.path / "queues" / bus.queue.place.rpartition("/")[2])
    die(victim)

    listener = bus.listen()

    assert sorted(finish(take(listener)) for _ in answers) == [0, 1, 2]
    assert [answer.result(DEADLINE) for answer in answers] == [0, 1, 2]


def test_calls_in_a_pipe_that_only_servers_of_an_earlier_release_could_read_become_files(
    bus: Bus,
) -> None:
    """They listen to the queue, and leave its pipe alone."""
    victim = bus.visit()
    bus.listen(victim)
    answer = bus.sent(1)
    die(victim)
    earlier = bus.queue.open_wake(os.O_RDWR)

    wait_until(lambda: bus.files, DEADLINE, "it is stored")

    os.close(earlier)
    finish(take(bus.listen()))
    assert answer.result(DEADLINE) == 1


def test_a_call_of_which_no_file_can_be_made_stays_in_the_removed_pipe(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as serving:
        serving.callback(os.close, bus.queue.open_calls(os.O_RDWR))
        pipe = CallPipe(bus.queue)
        for number in range(3):
            name = new_name(bus.client._presence.id, number, CALL)
            pipe.write(encode_packet(bus.queue.place, name, b"{}"))
    (bus.path / bus.queue.place / "calls").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(Spool, "put", _fail)
        for _ in range(4):
            with pytest.raises(OSError, match="died here"):
                pipe.look_after()

    pipe.look_after()

    assert len(bus.queue.waiting()) == 3


def test_a_caller_finds_the_pipe_that_was_made_anew(bus: Bus) -> None:
    listener = bus.listen()
    answer = bus.call(1)
    finish(take(listener))
    answer.result(DEADLINE)
    shutil.rmtree(bus.path / "queues" / bus.queue.place.rpartition("/")[2])
    listener.cleanup()

    second = bus.listen()
    bus.sent(2)

    assert bus.files == []
    assert finish(take(second)) == 2


def test_a_server_finds_the_address_that_its_caller_made_anew(bus: Bus) -> None:
    listener = bus.listen()
    for number in (1, 2):
        answer = bus.call(number)
        finish(take(listener))
        assert answer.result(DEADLINE) == number
        (bus.path / "peers" / f"{bus.client._presence.id}.sock").unlink()
        bus.client.mend()


def test_a_server_keeps_few_sockets_for_replies(bus: Bus) -> None:
    replies = Replies(bus.client.directory)
    names = [f"1-{number:08x}" for number in range(MOST_KEPT + 2)]
    with ExitStack() as stack:
        for name in names:
            stack.enter_context(bus.client.directory.bind(f"peers/{name}.sock", SOCK_DGRAM))
            assert replies.send(name, 1, REPLY, b"{}")
    assert len(replies._senders) <= MOST_KEPT
    replies.close_descriptors()


@pytest.mark.parametrize("how", ["requeue", "abandon"])
def test_a_call_that_is_given_back_is_a_file_with_a_mark(bus: Bus, how: str) -> None:
    listener = bus.listen()
    answer = bus.call(1)
    message = take(listener)

    if how == "requeue":
        message.requeue()
    else:
        message.claim.abandon()
    (name,) = bus.files
    again = take(listener)

    assert name.endswith({"requeue": "c0r", "abandon": "c1"}[how])
    assert again.redelivered
    finish(again)
    assert answer.result(DEADLINE) == 1


def test_calls_beyond_the_pages_of_the_journal_are_files(bus: Bus) -> None:
    listener = bus.listen()
    answers, messages = [], []
    for number in range(PAGES + 3):
        answers.append(bus.call(number))
        messages.append(take(listener))

    assert len(bus.files) == 4  # the last page is always free for the next call
    assert [finish(message) for message in messages] == list(range(PAGES + 3))
    assert bus.files == []
    assert [answer.result(DEADLINE) for answer in answers] == list(range(PAGES + 3))


def test_a_disk_that_is_full_keeps_calls_in_the_pipe(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Spool, "adopt", refuse)
    monkeypatch.setattr("launcher.unixbus.listener.TROUBLE_PAUSE", 0.01)
    listener = bus.listen()
    answers, messages = [], []
    for number in range(PAGES):
        answers.append(bus.call(number))
        messages.append(take(listener))
    answers.append(bus.sent("last"))

    with ThreadPoolExecutor(1) as pool:
        last = pool.submit(take, listener)
        wait_until(lambda: "messages cannot be taken: " in caplog.text, DEADLINE, "it says so")
        for message in messages:
            finish(message)
        assert finish(last.result(DEADLINE)) == "last"
    assert len({str(answer.result(DEADLINE)) for answer in answers}) == PAGES + 1


def test_a_server_without_a_journal_takes_files(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    listener = bus.listen()
    answer = bus.call(1)
    finish(take(listener))

    assert answer.result(DEADLINE) == 1
    assert "no journal of calls (No space left on device)" in caplog.text
    assert list((bus.path / "held").iterdir()) == []


def write(bus: Bus, packet: bytes) -> None:
    CallPipe(bus.queue).write(packet)


@pytest.mark.parametrize(
    "packet",
    [
        b"garbage",
        b"\0",
        b"1 5 queues/exchange,topic 1\n{}",
        b"1 2 queues/exchange,topic name\n{}",
        b"1 2 queues/../x 00000000000000000001.1-00000000.1.c0\n{}",
        b"1 2 queues/another 00000000000000000001.1-00000000.1.c0\n{}",
    ],
    ids=lambda packet: packet.decode(errors="replace"),
)
def test_garbage_in_the_pipe_is_dropped_with_a_line(
    bus: Bus, packet: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    listener = bus.listen()
    write(bus, packet)

    assert take(listener, timeout=0.02) is None
    assert "dropped what came to " in caplog.text
    answer = bus.call(1)
    finish(take(listener))
    assert answer.result(DEADLINE) == 1


def test_the_caller_of_a_call_that_is_no_message_hears_of_it(bus: Bus) -> None:
    listener = bus.listen()
    mailbox = bus.client.caller()._mailbox
    slot = mailbox.expect(7)
    name = new_name(bus.client._presence.id, 7, CALL)
    write(bus, encode_packet(bus.queue.place, name, b"[]"))

    assert take(listener, timeout=0.02) is None
    reply = mailbox.wait(slot, time.monotonic() + DEADLINE)
    assert reply is not None
    assert b"the server cannot read the message" in reply.body


def test_calls_whose_caller_waits_no_more_are_dropped(bus: Bus) -> None:
    listener = bus.listen()
    with pytest.raises(Exception, match="no answer"):
        bus.call(1, timeout=0.01).result(DEADLINE)

    assert take(listener, timeout=0.02) is None


def test_a_pipe_that_others_may_write_to_is_made_anew(bus: Bus) -> None:
    path = bus.path / bus.queue.place / "calls"
    path.chmod(0o622)
    with pytest.raises(PermissionError, match="it is no FIFO of this user alone"):
        bus.queue.open_calls(os.O_RDWR)

    bus.listen()

    assert path.stat().st_mode & 0o077 == 0


def test_a_journal_that_was_removed_is_made_anew(bus: Bus) -> None:
    victim = bus.visit()
    listener = bus.listen(victim)
    answer = bus.call(1)
    first = take(listener)
    shutil.rmtree(bus.path / "held")

    check = threading.Thread(target=listener.verify, args=(DEADLINE,))
    check.start()
    assert take(listener, timeout=0.2) is None
    check.join()

    first.requeue()  # from a page that has no file any more
    again = take(listener)
    assert again.redelivered
    die(victim, again)
    finish(take(bus.listen()))
    assert answer.result(DEADLINE) == 1


def test_a_journal_that_cannot_be_made_anew_is_tried_again(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the lock of the old one meanwhile: its number is nobody else's."""
    book = Journal(bus.client.directory, bus.client._presence.id, 1)
    (path,) = (bus.path / "held").iterdir()
    path.unlink()
    held = os.fstat(book._lock)
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", _fail)
        with pytest.raises(OSError, match="died here"):
            book.mend()

    assert os.fstat(book._lock) == held
    assert book.mend()
    assert path.stat().st_ino == os.fstat(book._lock).st_ino
    assert not book.mend()
    book.close()


class TestReclaim:
    """The journal of a dead process becomes files."""

    @pytest.fixture
    def dead(self, bus: Bus) -> tuple[str, str]:
        """The ID of a process that died with a call in hand, and the place of its journal."""
        presence = Presence(bus.client.directory)
        book = Journal(bus.client.directory, presence.id, 1)
        pipe = bus.queue.open_calls(os.O_RDWR)
        name = new_name(bus.client._presence.id, 1, CALL)
        data = encode_message(Message({}, {"n": 1}))
        assert CallPipes().send(bus.queue, name, data) is not None
        assert book.read(pipe) is not None
        os.close(pipe)
        book.forget_parent()
        presence.close_descriptors()
        return presence.id, f"held/{presence.id}.1"

    def test_may_be_repeated_at_each_step(
        self, bus: Bus, dead: tuple[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        owner, place = dead
        for function in ("pwrite", "unlink"):
            with monkeypatch.context() as patch:
                patch.setattr(os, function, _fail)
                with pytest.raises(OSError, match="died here"):
                    reclaim(bus.client.directory, place, owner)
        reclaim(bus.client.directory, place, owner)
        reclaim(bus.client.directory, place, owner)

        assert len(list(bus.queue.claimed())) == 1
        Recovery(bus.client.directory).sweep()
        assert len(bus.queue.waiting()) == 1
        assert list(bus.queue.claimed()) == []

    def test_is_done_at_the_next_death_if_the_entry_was_removed(
        self, bus: Bus, dead: tuple[str, str]
    ) -> None:
        """A process of an earlier release cleaned up, which knows of no journals."""
        (bus.path / "peers" / dead[0]).unlink()
        another = Presence(bus.client.directory)
        another.close_descriptors()

        Recovery(bus.client.directory).recover({another.id})

        assert len(bus.queue.waiting()) == 1
        assert not (bus.path / dead[1]).exists()

    def test_leaves_the_journal_of_the_living_alone(self, bus: Bus) -> None:
        listener = bus.listen(bus.client)
        bus.call(1)
        message = take(listener)
        (path,) = (bus.path / "held").iterdir()

        reclaim(bus.client.directory, f"held/{path.name}", bus.client._presence.id)
        Recovery(bus.client.directory).sweep()

        assert path.exists()
        assert bus.files == []
        finish(message)

    def test_drops_garbage(
        self, bus: Bus, dead: tuple[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.WARNING)
        owner, place = dead
        path = bus.path / place
        path.write_bytes(b"garbage" + path.read_bytes()[7:])

        reclaim(bus.client.directory, place, owner)

        assert f"dropped a call of dead bus process {owner}" in caplog.text
        assert bus.files == []
        assert not path.exists()

    def test_removes_what_is_no_journal(self, bus: Bus) -> None:
        (bus.path / "held" / "directory").mkdir()
        (bus.path / "held" / "link").symlink_to("/nothing")
        (bus.path / "held" / "stray").write_text("text")
        os.mkfifo(bus.path / "held" / "1-00000000.1")

        Recovery(bus.client.directory).sweep()

        assert list((bus.path / "held").iterdir()) == []

    def test_wakes_a_listener_for_calls_that_wait(self, bus: Bus, dead: tuple[str, str]) -> None:
        """The dead process was woken for them."""
        keeper = bus.queue.open_calls(os.O_RDWR)
        wake = bus.queue.open_wake(os.O_RDWR)
        write(bus, b"a call")

        Recovery(bus.client.directory).recover({dead[0]})

        assert os.read(wake, 1) == b"\0"
        os.close(keeper)
        os.close(wake)


def _fail(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, "died here")


def test_a_name_in_a_packet_is_that_of_a_file() -> None:
    name = MessageName(1, "1-00000000", 2, CALL)
    packet = decode_packet(encode_packet("queues/a%2Fb,c=0", name, b"{}") + b"rest")
    assert packet == ("queues/a%2Fb,c=0", str(name), b"{}")


def test_a_child_that_is_forked_during_a_read_keeps_no_lock_of_its_parent(bus: Bus) -> None:
    """And what it does with its copy of the call is nothing to the parent."""
    parent = bus.visit()
    listener = bus.listen(parent)
    bus.call(1)
    message = take(listener)
    held = message.claim._held
    reading = [PickleBuffer(page) for page in (held._page, *held._free)]  # as readv(2) does

    parent.close_descriptors()
    message.acknowledge()

    assert held._page[:1] == b"1"
    assert Recovery(bus.client.directory).recover({parent._presence.id}) == set()
    assert len(bus.queue.waiting()) == 1
    for page in reading:
        page.release()


def test_what_a_child_cannot_close_holds_up_nothing_else(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = bus.visit()
    bus.listen(parent)
    monkeypatch.setattr(UnixListener, "forget_parent", _fail)

    parent.close_descriptors()

    assert Recovery(bus.client.directory).recover({parent._presence.id}) == set()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(parent._deaths.descriptor)  # type: ignore[union-attr]


def test_a_server_that_leaves_gives_back_what_it_has_in_hand(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    leaving = bus.visit()
    answer = bus.call(1)
    message = take(bus.listen(leaving))

    leaving.close()

    (name,) = bus.files
    assert name.endswith("c0r")
    message.requeue()  # too late, and no second copy
    assert "cannot be requeued" in caplog.text
    assert bus.files == [name]
    finish(take(bus.listen()))
    assert answer.result(DEADLINE) == 1

"""A server gets messages in turn, up to its limit, and none that is garbage."""

import errno
import gc
import itertools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from oslo_config import cfg
from oslo_messaging import (
    InvalidTransportURL,
    MessageDeliveryFailure,
    MessagingTimeout,
    TransportURL,
)

from launcher.directories.beneath import Beneath
from launcher.listening.capacity import ring
from launcher.unixbus import listener as module
from launcher.unixbus.calls import Call
from launcher.unixbus.driver_options import Settings, read_settings
from launcher.unixbus.inbox import Inbox
from launcher.unixbus.journal import Journal
from launcher.unixbus.listener import UnixListener
from launcher.unixbus.member import Member
from launcher.unixbus.message_name import CALL, CAST, MAX_DEATHS, MessageName, new_name
from launcher.unixbus.presence import Presence
from launcher.unixbus.spool import Spool
from launcher.unixbus.wakeups import Wakeups
from launcher.unixbus.wire import Message, encode_message
from tests.support.directories import short_directory
from tests.support.waiting import wait_until

ADDRESS = ("exchange", "topic")
LIMIT = 1_000_000
DEADLINE = 10.0  # seconds


class Bus:
    """A directory, and the members that a test makes in it."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._path = path
        self._stack = stack

    def visit(self) -> Member:
        """A member that the test closes."""
        return Member(str(self._path), Settings(None, LIMIT), ["builtins"])

    def join(self) -> Member:
        member = self.visit()
        self._stack.callback(member.close)
        return member

    def listen(self, server: str = "server", room: int = 100) -> UnixListener:
        return self.join().listen(*ADDRESS, server, room)

    def cast(self, member: Member, number: int, *server: str) -> None:
        member.cast(member.queue(*ADDRESS, *server), encode_message(Message({}, {"n": number})))


@pytest.fixture
def bus() -> Iterator[Bus]:
    with short_directory() as path, ExitStack() as stack:
        yield Bus(path / "bus", stack)


def numbers(messages: list[Any]) -> list[int]:
    return [message.message["n"] for message in messages]


def poll(listener: UnixListener, timeout: float = DEADLINE) -> Any:
    """Return the next message; None: there is none."""
    messages = listener.poll(timeout)
    return messages[0] if messages else None


def serve(listener: UnixListener) -> int:
    """Acknowledge the next message and reply to it; returns its number."""
    message = poll(listener)
    message.acknowledge()
    message.reply()
    number: int = message.message["n"]
    return number


def now_and_nothing(listener: UnixListener) -> bool:
    return listener.poll(timeout=0.02) == []


def put(spool: Spool, sender: str, deaths: int = 0, data: bytes | None = None) -> MessageName:
    name = MessageName(time.monotonic_ns(), sender, 1, CALL, deaths)
    spool.put(name, encode_message(Message({}, {"method": "crash"})) if data is None else data)
    return name


def queue_of(member: Member, *server: str) -> Spool:
    return member.queue(*ADDRESS, *server)


def in_hand(spool: Spool) -> list[str]:
    return [name for _, name, _ in spool.claimed()]


def test_messages_come_in_the_order_of_sending(bus: Bus) -> None:
    sender, listener = bus.join(), bus.listen()
    for number in range(5):
        bus.cast(sender, number)

    assert [serve(listener) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert now_and_nothing(listener)


def test_a_batch_is_what_is_there_when_its_time_is_over(bus: Bus) -> None:
    sender = bus.join()
    listener = bus.join().listen(*ADDRESS, "server", 100)
    for number in range(5):
        bus.cast(sender, number)

    first = listener.poll(batch_size=3, batch_timeout=10)
    second = listener.poll(batch_size=3, batch_timeout=0.5)

    assert numbers(first) == [0, 1, 2]
    assert numbers(second) == [3, 4]


MANY = 1000


def test_those_who_wait_take_turns(bus: Bus) -> None:
    """Each hint wakes the next listener, in the order in which they came."""
    sender = bus.join()
    listeners = [bus.listen(str(number)) for number in range(3)]
    got: list[tuple[int, int]] = []

    def serve_all(place: int, listener: UnixListener) -> None:
        while message := poll(listener):
            got.append((place, message.message["n"]))
            message.acknowledge()

    threads = [
        threading.Thread(target=serve_all, args=(place, listener))
        for place, listener in enumerate(listeners)
    ]
    for thread in threads:
        thread.start()
    served = 0
    while served < 12 or (served < MANY and len({place for place, _ in got}) < 3):
        bus.cast(sender, served)  # more than 12 where a thread has yet to come to wait
        wait_until(lambda: got[-1:] and got[-1][1] == served, DEADLINE, f"{served} is served")  # noqa: B023  # looked at in this round only
        served += 1
    for listener in listeners:
        listener.stop()
    for thread in threads:
        thread.join()

    assert [number for _, number in got] == list(range(served))
    assert {place for place, _ in got} == {0, 1, 2}


def test_a_server_without_room_leaves_messages_to_others(bus: Bus) -> None:
    sender, slow, quick = bus.join(), bus.listen("slow", room=1), bus.listen("quick")
    bus.cast(sender, 0)
    held = poll(slow)
    for number in range(1, 5):
        bus.cast(sender, number)

    assert now_and_nothing(slow)
    assert [serve(quick) for _ in range(4)] == [1, 2, 3, 4]

    bus.cast(sender, 5)
    held.acknowledge()
    assert now_and_nothing(slow)  # acknowledged is not finished
    held.reply()
    assert serve(slow) == 5


def test_room_is_waited_for_without_polling(bus: Bus) -> None:
    sender, listener = bus.join(), bus.listen(room=1)
    bus.cast(sender, 0)
    bus.cast(sender, 1)
    held = poll(listener)
    got: list[Any] = []
    waiting = threading.Thread(target=lambda: got.append(poll(listener)))
    waiting.start()

    held.reply()
    waiting.join()

    assert numbers(got) == [1]


def test_a_message_that_is_dropped_unsettled_goes_back(bus: Bus) -> None:
    """An executor may refuse it. If each one does, the message is dropped in the end."""
    sender, listener = bus.join(), bus.listen(room=1)
    bus.cast(sender, 0)
    deaths = []
    while message := poll(listener, timeout=0.02):  # it is back before the next poll
        deaths.append(message.claim.name.deaths)
        del message
        gc.collect()

    assert deaths == list(range(MAX_DEATHS))
    assert queue_of(sender).waiting() == []


def test_an_acknowledged_message_is_gone_and_a_requeued_one_is_not(bus: Bus) -> None:
    sender, listener = bus.join(), bus.listen()
    bus.cast(sender, 0)
    bus.cast(sender, 1)
    first, second = poll(listener), poll(listener)

    second.requeue()
    second.acknowledge()  # too late
    first.acknowledge()
    first.requeue()  # too late

    again = poll(listener)
    assert again.message["n"] == 1
    assert again.redelivered
    assert not first.redelivered
    again.acknowledge()
    assert in_hand(queue_of(sender)) == []
    assert now_and_nothing(listener)


def test_a_stop_ends_a_poll_at_once_and_loses_nothing(bus: Bus) -> None:
    sender, listener = bus.join(), bus.listen()
    took: list[float] = []

    def wait() -> None:
        assert listener.poll() == []
        took.append(time.monotonic())

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(lambda: listener._inboxes[0]._watched, DEADLINE, "the listener waits")
    begun = time.monotonic()
    listener.stop()
    waiting.join()
    bus.cast(sender, 1)

    assert took[0] - begun < 1.0
    assert listener.poll() == []
    assert serve(bus.listen()) == 1


def test_a_hint_given_to_one_that_stops_is_handed_on(bus: Bus) -> None:
    sender, leaving, staying = bus.join(), bus.listen("leaving"), bus.listen("staying")
    assert now_and_nothing(leaving)
    assert now_and_nothing(staying)  # both wait; `leaving` is first in the list
    bus.cast(sender, 0)
    os.read(leaving._inboxes[0].descriptor, 1)  # woken, and stopped before it acts

    leaving.stop()
    assert leaving.poll() == []

    assert staying._epoll.poll(DEADLINE)
    assert serve(staying) == 0


def test_direct_messages_and_those_to_all_arrive(bus: Bus) -> None:
    sender, one, two = bus.join(), bus.listen("one"), bus.listen("two")

    bus.cast(sender, 1, "two")
    assert serve(two) == 1
    sender.fan_out(encode_message(Message({}, {"n": 2})), *ADDRESS)

    assert serve(one) == 2
    assert serve(two) == 2
    assert now_and_nothing(one)


def test_a_message_to_all_goes_to_nobody_if_nobody_listens(bus: Bus) -> None:
    sender = bus.join()
    data = encode_message(Message({}, {"n": 1}))

    sender.fan_out(data, *ADDRESS)
    listener = bus.listen()
    listener.cleanup()
    sender.fan_out(data, *ADDRESS)

    assert now_and_nothing(bus.listen())
    top = Path(sender.directory.at("fanout", "exchange,topic"))
    assert len(list(top.iterdir())) == 1  # that of the present listener


def test_a_call_that_nobody_waits_for_is_not_handed_out(bus: Bus) -> None:
    sender, listener = bus.join(), bus.listen()
    spool = queue_of(sender)
    gone = Presence(sender.directory)
    put(spool, gone.id)
    gone.end()
    late = encode_message(Message({}, {"method": "m"}, deadline=time.monotonic_ns()))
    spool.put(new_name(sender._presence.id, 1, CALL), late)

    assert now_and_nothing(listener)
    assert spool.waiting() == in_hand(spool) == []


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"\xff" * 1000, b'{"version": 1}', b"[" * 100_000, b" " * LIMIT * 2]
)
def test_garbage_is_removed_with_a_warning_and_its_caller_told(
    bus: Bus, caplog: pytest.LogCaptureFixture, data: bytes
) -> None:
    sender, listener = bus.join(), bus.listen()
    spool = queue_of(sender)
    sender.caller()
    slot = sender._mailbox.expect(1)  # type: ignore[union-attr]
    name = put(spool, sender._presence.id, data=data)
    bus.cast(sender, 1)

    assert serve(listener) == 1
    assert caplog.text.count(str(name)) == 1
    assert spool.waiting() == []
    reply = sender._mailbox.wait(slot, time.monotonic() + DEADLINE)  # type: ignore[union-attr]
    assert reply is not None
    assert b"the server cannot read the message" in reply.body


def test_strays_in_a_queue_are_removed_with_a_warning(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    sender, listener = bus.join(), bus.listen()
    new = Path(queue_of(sender).path, "new")
    (new / "directory").mkdir()
    (new / "directory" / "file").touch()
    (new / "link").symlink_to(new / "nothing")
    (new / "\udcff").touch()
    (new / ("x" * 250)).touch()
    os.mkfifo(new / str(new_name(sender._presence.id, 9, CAST)))
    bus.cast(sender, 1)

    assert serve(listener) == 1
    wait_until(
        lambda: now_and_nothing(listener) and not list(new.iterdir()), 10, "the strays are gone"
    )
    assert caplog.text.count("removed") >= 4


def test_what_killed_two_servers_is_given_to_no_third(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    sender, listener = bus.join(), bus.listen()
    sender.caller()
    slot = sender._mailbox.expect(1)  # type: ignore[union-attr]
    name = put(queue_of(sender), sender._presence.id, deaths=MAX_DEATHS)

    assert now_and_nothing(listener)
    assert f"dropped message {name.message_id} (crash): 2 servers died" in caplog.text
    reply = sender._mailbox.wait(slot, time.monotonic() + DEADLINE)  # type: ignore[union-attr]
    assert reply is not None
    assert b"2 servers died while they executed crash" in reply.body


def test_a_message_that_cannot_be_read_now_waits_for_better_times(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("launcher.unixbus.listener.TROUBLE_PAUSE", 0.01)
    sender, listener = bus.join(), bus.listen()
    bus.cast(sender, 1)
    open_file = Beneath.open
    failures = iter([OSError(24, "Too many open files")] * 3)

    def fail_at_first(self: Beneath, name: str, flags: int, mode: int = 0o600) -> int:
        failure = next(failures, None) if "/cur/" in name else None
        if failure is not None:
            raise failure
        return open_file(self, name, flags, mode)

    monkeypatch.setattr(Beneath, "open", fail_at_first)

    message = poll(listener)

    assert message.message["n"] == 1
    assert not message.redelivered
    assert "Too many open files" in caplog.text


def test_who_leaves_gives_back_what_it_had_in_hand(bus: Bus) -> None:
    sender, member = bus.join(), bus.visit()
    listener = member.listen(*ADDRESS, "server", 100)
    bus.cast(sender, 1)
    held = poll(listener)

    member.close()
    held.acknowledge()  # too late: another listener has it

    again = poll(bus.listen())
    assert again.message["n"] == 1
    assert again.redelivered


def test_a_caller_whose_transport_is_closed_is_told(bus: Bus) -> None:
    member = bus.visit()
    told: list[Exception] = []

    def call() -> None:
        try:
            member.caller().call(
                queue_of(member), Call({}, {"method": "m"}, "topic", 60, None, None)
            )
        except MessageDeliveryFailure as error:
            told.append(error)

    queue_of(member).make()
    caller = threading.Thread(target=call)
    caller.start()
    wait_until(lambda: queue_of(member).waiting(), DEADLINE, "it has called")
    member.close()
    caller.join()

    assert "the transport was closed" in str(told)


def test_a_call_that_nobody_answers_leaves_nothing_behind(bus: Bus) -> None:
    member = bus.join()
    call = Call({}, {"method": "m"}, "topic on server", 0.02, None, None)

    with pytest.raises(
        MessagingTimeout, match=r"no answer to m from topic on server within 0.02 s"
    ):
        member.caller().call(queue_of(member), call)

    assert queue_of(member).waiting() == []
    assert member._mailbox._slots == {}  # type: ignore[union-attr]


def test_the_query_of_a_url_overrides_the_configuration() -> None:
    url = TransportURL.parse(cfg.CONF, "unix:///bus?prefetch=3&max_message_size=2048")
    settings = read_settings(cfg.CONF, url)
    assert (settings.unfinished_limit(cfg.CONF), settings.max_message_size) == (3, 2048)

    plain = TransportURL.parse(cfg.CONF, "unix:///bus")
    assert read_settings(cfg.CONF, plain).max_message_size == 64 * 1024 * 1024


def test_a_server_has_room_for_as_many_calls_as_it_has_threads() -> None:
    """The server registers its option after the driver is made, and before it listens."""
    conf = cfg.ConfigOpts()
    settings = read_settings(conf, TransportURL.parse(conf, "unix:///bus"))
    conf.register_opt(cfg.IntOpt("executor_thread_pool_size", default=64))
    conf.set_override("executor_thread_pool_size", 2)

    assert settings.unfinished_limit(conf) == 2


@pytest.mark.parametrize("query", ["prefetch=0", "prefetch=many", "max_message_size=1", "x=1"])
def test_a_query_that_makes_no_sense_is_refused(query: str) -> None:
    url = TransportURL.parse(cfg.CONF, f"unix:///bus?{query}")

    with pytest.raises(InvalidTransportURL, match=r"the query of unix:.* is wrong"):
        read_settings(cfg.CONF, url)


def test_a_listener_may_be_closed_while_it_is_polled(bus: Bus) -> None:
    member = bus.visit()
    listener = member.listen(*ADDRESS, "server", 100)
    polled: list[list[Any]] = []
    waiting = threading.Thread(target=lambda: polled.append(listener.poll()))
    waiting.start()
    wait_until(lambda: listener._inboxes[0]._watched, DEADLINE, "the listener waits")

    member.close()
    waiting.join()

    assert polled == [[]]
    assert listener.poll() == []


def test_what_goes_wrong_each_time_is_told_now_and_then_and_its_end_too(
    bus: Bus, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(module, "TROUBLE_PAUSE", 0.001)
    listener, tries, take = bus.listen(), itertools.count(), UnixListener._take

    def fail(self: UnixListener) -> Any:
        if next(tries) < 100:
            raise OSError(errno.EMFILE, "Too many open files")
        return take(self)

    monkeypatch.setattr(UnixListener, "_take", fail)
    bus.cast(bus.join(), 7)

    assert serve(listener) == 7
    told = [record.getMessage() for record in caplog.records if "be taken" in record.message]
    assert told[0] == "messages cannot be taken: [Errno 24] Too many open files; trying again"
    assert told[-1] == "messages can be taken again"
    assert len(told) < 10


def test_who_begins_to_listen_and_who_mends_the_bus_removes_unused_queues(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    member = bus.join()

    def listen() -> None:
        member.listen(*ADDRESS, "server", 1)

    def mend_after_an_hour() -> None:
        monkeypatch.setattr("launcher.unixbus.member.IDLE_SECONDS", 0.0)
        member.mend()

    for begin in (listen, mend_after_an_hour):
        unused = member.queue("exchange", "unused")
        unused.make()
        for part in Path(unused.path).iterdir():
            os.utime(part, (0, 0))
        begin()
        assert not Path(unused.path).exists()


def test_a_paused_listener_leaves_shared_queues_to_others_and_takes_its_own(bus: Bus) -> None:
    sender, paused, sibling = bus.join(), bus.listen(), bus.listen()
    paused.hold.set(True)
    assert now_and_nothing(paused)
    for number in range(3):
        bus.cast(sender, number)
    bus.cast(sender, 3, "server")
    assert now_and_nothing(paused)
    assert sorted(serve(sibling) for _ in range(4)) == [0, 1, 2, 3]
    sender.fan_out(encode_message(Message({}, {"n": 4})), *ADDRESS)
    assert serve(paused) == 4
    sibling.cleanup()
    bus.cast(sender, 5)
    assert now_and_nothing(paused)
    paused.hold.set(False)
    assert serve(paused) == 5


def test_what_was_passed_to_a_listener_that_is_paused_wakes_another(bus: Bus) -> None:
    """A hint that came to it just before goes on to a sibling."""
    sender, paused, sibling = bus.join(), bus.listen(), bus.listen()
    assert now_and_nothing(paused)
    bus.cast(sender, 1)
    paused.hold.set(True)
    assert now_and_nothing(paused)
    assert serve(sibling) == 1


class Pollers:
    """Threads that wait in `poll` of one listener, each for one message."""

    def __init__(self, listener: UnixListener, number: int) -> None:
        self.listener = listener
        self.got: list[list[Any]] = []
        self.woken = 0
        self._threads = [threading.Thread(target=self._poll) for _ in range(number)]
        for thread in self._threads:
            thread.start()
        wait_until(lambda: listener._inside == number and waits(listener), DEADLINE, "all wait")

    def _poll(self) -> None:
        self.got.append(self.listener.poll())

    def have(self, number: int) -> bool:
        return len(self.got) == number

    def end(self) -> None:
        self.listener.stop()
        self.listener.wait_until_left()
        for thread in self._threads:
            thread.join(DEADLINE)


def waits(listener: UnixListener) -> bool:
    """Whether no thread of it does anything but wait."""
    if not listener._turn.acquire(blocking=False):
        return False
    listener._turn.release()
    return True


def call(bus: Bus, member: Member, *server: str) -> Any:
    """Send a call through the pipe; returns what keeps it there."""
    name = new_name(member._presence.id, member._presence.next_number(), CALL)
    pipe = member._pipes.send(
        queue_of(member, *server), name, encode_message(Message({}, {"n": 1}))
    )
    assert pipe is not None
    return pipe


def test_a_call_wakes_one_of_the_threads_that_wait(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, sender = bus.listen("server"), bus.join()
    woken: list[int] = []
    wake = Inbox.wake

    def count(inbox: Inbox, descriptor: int) -> None:
        woken.append(descriptor)
        wake(inbox, descriptor)

    monkeypatch.setattr(Inbox, "wake", count)
    pollers = Pollers(listener, 3)
    woken.clear()
    for number in range(1, 3):
        pipe = call(bus, sender)
        wait_until(partial(pollers.have, number), DEADLINE, "it is taken")
        del pipe
    assert len(woken) == 2
    assert listener._inside == 1
    pollers.end()
    assert pollers.got[-1] == []


def test_a_stop_ends_all_threads_that_wait(bus: Bus) -> None:
    pollers = Pollers(bus.listen("server"), 5)
    pollers.end()
    assert pollers.got == [[]] * 5


def test_a_stop_while_a_thread_hears_the_bell_ends_all(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its read takes both rings."""
    listener = bus.listen("server")
    pollers = Pollers(listener, 4)
    read = os.eventfd_read

    def stop_and_read(bell: int) -> int:
        monkeypatch.setattr(os, "eventfd_read", read)
        listener.stop()
        return read(bell)

    monkeypatch.setattr(os, "eventfd_read", stop_and_read)
    listener._ring()
    wait_until(partial(pollers.have, 4), DEADLINE, "all have left")


class CountingEpoll:
    """Counts the threads that wait in it."""

    def __init__(self, epoll: Any) -> None:
        self._epoll = epoll
        self.inside: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._epoll, name)

    def poll(self, seconds: float | None) -> Any:
        self.inside.add(threading.get_ident())
        try:
            return self._epoll.poll(seconds)
        finally:
            self.inside.remove(threading.get_ident())


def test_calls_in_two_queues_go_to_two_threads_though_one_hears_of_both(bus: Bus) -> None:
    listener, sender = bus.listen("server"), bus.join()
    epoll: Any = CountingEpoll(listener._epoll)
    listener._epoll = listener._wakeups.epoll = epoll
    pollers = Pollers(listener, 2)
    with listener._turn:  # both are woken, and come no further
        listener._ring()
        wait_until(lambda: not epoll.inside, DEADLINE, "both are awake")
        pipes = [call(bus, sender), call(bus, sender, "server")]
    wait_until(partial(pollers.have, 2), DEADLINE, "both are taken")
    del pipes


def test_after_a_pause_a_thread_that_takes_a_call_leaves_the_queues_watched(bus: Bus) -> None:
    listener, sender = bus.listen("server"), bus.join()
    pollers = Pollers(listener, 2)
    listener.hold.set(True)
    wait_until(lambda: listener.hold.in_force and waits(listener), DEADLINE, "it is paused")
    pipes = [call(bus, sender)]
    listener.hold.set(False)
    wait_until(partial(pollers.have, 1), DEADLINE, "the one that waited is taken")
    pipes.append(call(bus, sender))
    wait_until(partial(pollers.have, 2), DEADLINE, "the next one, too")


def test_after_an_error_a_thread_that_takes_a_call_leaves_the_queues_watched(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, sender = bus.listen("server"), bus.join()
    pollers = Pollers(listener, 2)
    read = Journal.read

    def fail(*_: object) -> Any:
        monkeypatch.setattr(Journal, "read", read)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Journal, "read", fail)
    pipes = [call(bus, sender)]
    wait_until(partial(pollers.have, 1), DEADLINE, "it is taken in the end")
    pipes.append(call(bus, sender))
    wait_until(partial(pollers.have, 2), DEADLINE, "the next one, too")


class Due:
    """Suspects that are to be examined at a time."""

    hearing = False

    def __init__(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def due(self) -> float:
        return self.at


def test_a_thread_waits_for_a_check_that_is_due_before_that_of_another_one() -> None:
    turn, suspects = threading.Lock(), Due(3600)
    wakeups = Wakeups(turn, cast("Any", Blind()), cast("Any", suspects))

    def wait() -> None:
        with turn:
            wakeups.wait(None, [])

    first, second = (threading.Thread(target=wait, daemon=True) for _ in range(2))
    first.start()
    wait_until(lambda: wakeups._timed == suspects.at, DEADLINE, "one waits")
    suspects.at = time.monotonic() + 0.1
    assert wakeups.lacks_a_check
    second.start()
    second.join(DEADLINE)
    assert not second.is_alive()
    wakeups.stopping = True
    ring(wakeups.bell)
    first.join(DEADLINE)
    wakeups.close()


class Blind:
    blind, descriptor = True, -1


def test_a_thread_that_goes_hands_on_the_check_of_suspects(bus: Bus) -> None:
    """The one that waited until then has a message and may execute it for long."""
    listener, sender = bus.listen("server"), bus.join()
    pollers = Pollers(listener, 2)
    examined = threading.Event()
    due = [time.monotonic() + 3600]
    listener._suspects.due = lambda: due[0]  # type: ignore[method-assign]
    listener._suspects.examine = examined.set  # type: ignore[method-assign]
    listener._ring()
    wait_until(lambda: listener._wakeups._timed == due[0], DEADLINE, "one waits until then")
    wait_until(lambda: waits(listener), DEADLINE, "and does nothing else")
    examined.clear()
    with listener._turn:
        due[0] = time.monotonic() + 0.3
        bus.cast(sender, 1)
    wait_until(lambda: len(pollers.got), DEADLINE, "one has gone")
    assert examined.wait(DEADLINE)
    pollers.end()

"""Unused queues are removed, and no queue that is in use."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.unixbus.directory import BusDirectory, open_directory
from launcher.unixbus.inbox import Inbox
from launcher.unixbus.message_name import CALL, CAST, MessageName, new_name
from launcher.unixbus.presence import Presence
from launcher.unixbus.spool import Spool
from launcher.unixbus.unused_queues import CAST_SECONDS, IDLE_SECONDS, PREFIX, UnusedQueues
from tests.support.directories import short_directory

HOUR, DAY = IDLE_SECONDS, CAST_SECONDS


@pytest.fixture
def directory() -> Iterator[BusDirectory]:
    with short_directory() as path:
        yield open_directory(str(path / "bus"))


@pytest.fixture
def spool(directory: BusDirectory) -> Spool:
    spool = Spool(directory, "queues/exchange,topic")
    spool.make()
    return spool


def later(directory: BusDirectory, seconds: float) -> None:
    """Remove unused queues, as if called so many seconds from now."""
    UnusedQueues(directory, lambda: time.time() + seconds).remove()


def put(spool: Spool, sender: str, kind: str) -> MessageName:
    name = new_name(sender, 1, kind)
    spool.put(name, b"{}")
    return name


def exists(spool: Spool) -> bool:
    return spool.directory.is_directory(spool.place)


def test_an_empty_queue_without_a_listener_goes_after_an_hour(
    directory: BusDirectory, spool: Spool
) -> None:
    later(directory, HOUR - 60)
    assert exists(spool)

    later(directory, HOUR + 60)
    assert directory.names("queues") == []


def test_who_comes_while_a_queue_goes_listens_to_the_one_that_is_there(
    directory: BusDirectory, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the queue that has just lost its name it would wait in vain for a hint."""
    repair = spool.repair
    aside = Spool(directory, f"queues/{PREFIX}queue")

    def repair_too_early() -> None:
        repair()
        if not directory.is_directory(aside.place):
            directory.rename(spool.place, aside.place)

    monkeypatch.setattr(spool, "repair", repair_too_early)

    inbox = Inbox(spool)

    assert spool.is_whole(inbox.descriptor)
    assert spool.is_listened_to()
    assert not aside.is_listened_to()
    inbox.close()


def test_a_queue_that_always_goes_is_an_error(
    directory: BusDirectory, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "repair", lambda: directory.remove(spool.place))
    with pytest.raises(FileNotFoundError, match="removed as often as it is made"):
        Inbox(spool)


def test_one_with_a_listener_stays(directory: BusDirectory, spool: Spool) -> None:
    inbox = Inbox(spool)

    later(directory, 100 * DAY)

    assert exists(spool)
    inbox.close()


def test_a_call_without_its_caller_goes_and_a_callers_stays(
    directory: BusDirectory, spool: Spool
) -> None:
    caller = Presence(directory)
    gone = put(spool, "1-00000000", CALL)
    waits = put(spool, caller.id, CALL)

    later(directory, 0)

    assert spool.waiting() == [str(waits)]
    assert str(gone) not in spool.waiting()
    caller.end()


def test_a_cast_waits_for_a_day(
    directory: BusDirectory, spool: Spool, caplog: pytest.LogCaptureFixture
) -> None:
    name = put(spool, "1-00000000", CAST)
    later(directory, DAY - 60)
    assert spool.waiting() == [str(name)]

    later(directory, DAY + 60)
    assert not exists(spool)
    assert "no server takes them, 1 old messages removed" in caplog.text


def test_what_is_in_somebodys_hand_stays(directory: BusDirectory, spool: Spool) -> None:
    name = put(spool, "1-00000000", CAST)
    assert spool.claim(str(name), "2-00000000") is not None

    later(directory, 100 * DAY)

    assert len(list(spool.claimed())) == 1


def test_a_message_that_comes_while_its_queue_goes_is_kept(
    directory: BusDirectory, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message comes right before the queue loses its name, and one right after."""
    rename = BusDirectory.rename_new
    order: list[MessageName] = []

    def come(self: BusDirectory, old: str, new: str) -> None:
        if not order:
            order.append(put(spool, "1-00000000", CAST))
            rename(self, old, new)
            order.append(put(spool, "2-00000000", CAST))  # makes the queue anew
        else:
            rename(self, old, new)

    monkeypatch.setattr(BusDirectory, "rename_new", come)
    later(directory, HOUR + 60)

    assert spool.waiting() == sorted(map(str, order))
    assert directory.names("queues") == ["exchange,topic"]


def test_a_message_of_whom_has_the_queue_open_is_kept(
    directory: BusDirectory, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes after the last check: the sender does not know the queue's new name."""
    elsewhere = open_directory(directory.path)
    theirs = Spool(elsewhere, spool.place)
    theirs.withdraw(put(theirs, "1-00000000", CAST))
    remove = BusDirectory.remove
    sent: list[MessageName] = []

    def come(self: BusDirectory, name: str) -> None:
        if ".unused." in name and not sent:
            sent.append(put(theirs, "1-00000000", CAST))
        remove(self, name)

    monkeypatch.setattr(BusDirectory, "remove", come)
    later(directory, HOUR + 60)

    assert Spool(open_directory(directory.path), spool.place).waiting() == list(map(str, sent))
    assert len(sent) == 1
    assert directory.names("queues") == ["exchange,topic"]


def test_strays_are_left_alone(directory: BusDirectory) -> None:
    os.close(os.open(directory.at("queues", "stray"), os.O_CREAT | os.O_WRONLY, 0o600))
    Path(directory.at("queues", "link")).symlink_to("/")

    later(directory, 100 * DAY)

    assert sorted(directory.names("queues")) == ["link", "stray"]

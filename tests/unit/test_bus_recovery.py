"""What is left of a process that died is put in order; who lives is left alone."""

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.bus import presence
from launcher.bus.deaths import Deaths, Suspects
from launcher.bus.directory import BusDirectory, open_directory
from launcher.bus.mailbox import Mailbox
from launcher.bus.presence import Presence
from launcher.bus.recovery import Recovery
from launcher.bus.spool import CALL, CAST, MessageName, Spool, new_name
from tests.support.directories import short_directory
from tests.support.waiting import wait_until

DEADLINE = 10.0  # seconds
SWEEPS = 600  # of which some meet a sibling half-way


@pytest.fixture
def directory() -> Iterator[BusDirectory]:
    with short_directory() as path:
        yield open_directory(str(path / "bus"))


@pytest.fixture
def recovery(directory: BusDirectory) -> Recovery:
    return Recovery(directory)


@pytest.fixture
def spool(directory: BusDirectory) -> Spool:
    spool = Spool(directory, directory.at("queues", "exchange,topic"))
    spool.make()
    return spool


@pytest.fixture
def living(directory: BusDirectory) -> Iterator[Presence]:
    living = Presence(directory)
    yield living
    living.end()


@pytest.fixture
def dead(directory: BusDirectory) -> str:
    """ID of a process that was there and died: its lock is free."""
    presence = Presence(directory)
    presence.forsake()
    return presence.id


def put(spool: Spool, sender: str, seq: int, kind: str = CAST) -> MessageName:
    name = new_name(sender, seq, kind)
    spool.put(name, b"data")
    return name


def claim(spool: Spool, name: MessageName, owner: str) -> Path:
    path = spool.claim(str(name), owner)
    assert path is not None
    return Path(path)


def test_what_a_dead_process_had_in_hand_goes_back_with_a_mark(
    recovery: Recovery, spool: Spool, living: Presence, dead: str
) -> None:
    name = put(spool, living.id, 1)
    claim(spool, name, dead)

    recovery.sweep()

    assert spool.waiting() == [str(name.survive())]
    assert name.survive().deaths == 1


def test_each_death_with_the_message_in_hand_counts(
    recovery: Recovery, spool: Spool, living: Presence, directory: BusDirectory
) -> None:
    name = put(spool, living.id, 1)

    for deaths in (1, 2):
        victim = Presence(directory)
        claim(spool, name, victim.id)
        victim.forsake()
        recovery.sweep()
        name = name.survive()
        assert name.deaths == deaths
        assert spool.waiting() == [str(name)]


def test_who_lives_keeps_what_it_has(recovery: Recovery, spool: Spool, living: Presence) -> None:
    name = put(spool, living.id, 1, CALL)
    path = claim(spool, name, living.id)
    waiting = put(spool, living.id, 2, CALL)

    recovery.sweep()

    assert path.exists()
    assert spool.waiting() == [str(waiting)]
    assert recovery.recover({living.id}) == {living.id}


def test_nobody_waits_for_the_calls_of_the_dead_but_their_casts_count(
    recovery: Recovery, spool: Spool, dead: str
) -> None:
    put(spool, dead, 1, CALL)
    cast = put(spool, dead, 2, CAST)

    recovery.sweep()

    assert spool.waiting() == [str(cast)]


def test_a_listener_is_woken_for_what_the_dead_left_waiting(
    recovery: Recovery, spool: Spool, dead: str
) -> None:
    listener = os.open(spool.wake, os.O_RDWR | os.O_NONBLOCK)
    put(spool, dead, 1)
    os.read(listener, 1)  # the dead one took the hint, and died

    recovery.sweep()

    assert os.read(listener, 1) == b"\0"
    os.close(listener)


def test_all_traces_of_the_dead_go(
    recovery: Recovery, spool: Spool, dead: str, directory: BusDirectory
) -> None:
    directory.make(directory.at("fanout", "exchange,topic"))
    fanout = Spool(directory, directory.at("fanout", "exchange,topic", f"{dead}.1"))
    fanout.make()
    put(fanout, dead, 1)
    Path(directory.at("peers", f"{dead}.sock")).touch()
    directory.make(directory.at("replies", dead))
    Path(directory.at("replies", dead, "1")).touch()
    directory.write_new(f"{spool.path}/new/.{new_name(dead, 2, CALL)}", b"half a mes")

    recovery.sweep()

    left = [path for path in Path(directory.path).rglob("*") if dead in str(path)]
    assert left == []


def test_a_process_that_died_before_it_was_visible_is_cleaned_up_too(
    recovery: Recovery, directory: BusDirectory
) -> None:
    Path(directory.at("peers", ".1-00000000")).touch()

    recovery.sweep()

    assert list(Path(directory.at("peers")).iterdir()) == []


def test_messages_of_an_owner_without_an_entry_go_back(
    recovery: Recovery, spool: Spool, living: Presence
) -> None:
    name = put(spool, living.id, 1)
    claim(spool, name, "1-00000000")

    recovery.sweep()

    assert spool.waiting() == [str(name.survive())]


def test_who_leaves_gives_back_what_it_has(
    recovery: Recovery, spool: Spool, living: Presence
) -> None:
    name = put(spool, living.id, 1)
    claim(spool, name, living.id)

    recovery.give_back(living.id)

    assert spool.waiting() == [str(name.requeue())]


def test_one_cleans_up_and_others_wait_for_it(
    recovery: Recovery, dead: str, directory: BusDirectory
) -> None:
    lock = presence.seize(directory, dead)
    assert lock is not None

    assert recovery.recover({dead}) == {dead}

    os.close(lock)  # it died as well, in the middle of it
    assert recovery.recover({dead}) == set()
    assert list(Path(directory.at("peers")).iterdir()) == []


@pytest.mark.parametrize("part", ["queues", "fanout", "replies"])
def test_what_got_no_name_is_removed_when_it_is_old(
    recovery: Recovery, directory: BusDirectory, part: str
) -> None:
    old, new = Path(directory.at(part, ".old.1-0")), Path(directory.at(part, ".new.1-0"))
    for draft in (old, new):
        (draft / "new").mkdir(parents=True)
    os.utime(old, (0, 0))

    recovery.sweep()

    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("part", ["queues", "fanout", "peers"])
def test_strays_are_no_obstacle(
    recovery: Recovery, directory: BusDirectory, spool: Spool, dead: str, part: str
) -> None:
    Path(directory.at(part, "stray")).touch()
    Path(directory.at(part, "stray-directory")).mkdir()
    stray = Path(spool.path, "cur", f"garbage@{dead}")
    stray.touch()

    recovery.sweep()

    assert not stray.exists()


def test_a_death_is_reported_and_a_departure_is_not(directory: BusDirectory) -> None:
    deaths = Deaths(directory.at("peers"), "own")
    leaving, dying = Presence(directory), Presence(directory)
    assert deaths.read() == set()

    leaving.end()
    assert deaths.read() == set()

    dying.forsake()
    assert deaths.read() == {dying.id}
    assert deaths.read() == set()
    deaths.close()


def test_if_the_kernel_lost_events_everybody_is_suspected(directory: BusDirectory) -> None:
    deaths = Deaths(directory.at("peers"), "own")
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    noisy = [Path(directory.at("peers", name)) for name in ("noisy", "louder")]
    for path in noisy:
        path.touch()
    for _ in range(limit // 2 + 1):  # in turn, since an event like the one before is no event
        for path in noisy:
            os.close(os.open(path, os.O_WRONLY))  # sixteen thousand times
    for path in noisy:
        path.unlink()
    Path(directory.at("peers", "quiet")).touch()  # too late to be reported

    everybody = {"quiet"}
    wait_until(lambda: deaths.read() == everybody, DEADLINE, "everybody is named", interval=0)
    deaths.close()


def test_a_suspect_is_examined_until_its_lock_is_free(directory: BusDirectory) -> None:
    """Its death is reported a little before the kernel lets go of the lock."""
    deaths = Deaths(directory.at("peers"), "own")
    living, dying = Presence(directory), Presence(directory)
    locked = [{living.id, dying.id}, {living.id, dying.id}, {living.id}]
    suspects = Suspects(deaths, lambda _: locked.pop(0))
    assert suspects.due() is None
    dying.forsake()
    suspects.listen()

    def examined() -> bool:
        suspects.examine()
        return suspects.due() is None

    wait_until(examined, DEADLINE, "the suspect is no more")
    assert locked == []
    deaths.close()
    living.end()


def test_one_death_brings_others_to_light(
    directory: BusDirectory, recovery: Recovery, dead: str
) -> None:
    """One that died while it cleaned up after another has left two to clean up after."""
    deaths = Deaths(directory.at("peers"), "own")
    suspects = Suspects(deaths, recovery.recover)
    dying = Presence(directory)
    dying.forsake()

    suspects.listen()
    suspects.examine()

    assert deaths.everybody() == set()
    deaths.close()


def test_without_inotify_everybody_is_examined_now_and_then(
    directory: BusDirectory, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets and strays among them are no obstacle."""
    monkeypatch.setattr("launcher.bus.deaths._watch", lambda _: -1)
    mailbox = Mailbox(directory, dead, 1000)
    mailbox.forsake()
    Path(directory.at("peers", "stray")).touch()
    deaths = Deaths(directory.at("peers"), "own")
    suspects = Suspects(deaths, Recovery(directory).recover)

    suspects.examine()

    assert deaths.blind
    assert deaths.everybody() == {"stray"}
    assert suspects.due() is not None
    deaths.close()


def test_what_siblings_make_at_the_same_moment_is_no_obstacle(
    recovery: Recovery, directory: BusDirectory
) -> None:
    """A draft that is looked at may have got its name, or have gone, before the look is over."""
    topic, over = directory.at("fanout", "exchange,topic"), threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            directory.make(topic)
            directory.make(f"{topic}/1-00000000.1", "new", "cur", fifo="wake")
            shutil.rmtree(topic)

    sibling = threading.Thread(target=come_and_go)
    sibling.start()
    try:
        for _ in range(SWEEPS):
            recovery.sweep()
    finally:
        over.set()
        sibling.join()

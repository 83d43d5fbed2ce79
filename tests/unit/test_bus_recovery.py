"""Siblings clean up after a process that died, and leave a living one alone."""

import errno
import fcntl
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from launcher.unixbus import presence
from launcher.unixbus.directory import BusDirectory, open_directory
from launcher.unixbus.mailbox import Mailbox
from launcher.unixbus.message_name import CALL, CAST, MessageName, new_name
from launcher.unixbus.peer_deaths import Deaths
from launcher.unixbus.presence import Presence
from launcher.unixbus.recovery import Recovery
from launcher.unixbus.spool import Spool
from launcher.unixbus.suspects import Suspects
from tests.support.directories import short_directory
from tests.support.waiting import wait_until

DEADLINE = 10.0  # seconds
SWEEPS = 600  # some of them meet a sibling half-way


@pytest.fixture
def directory() -> Iterator[BusDirectory]:
    with short_directory() as path:
        yield open_directory(str(path / "bus"))


@pytest.fixture
def recovery(directory: BusDirectory) -> Recovery:
    return Recovery(directory)


@pytest.fixture
def spool(directory: BusDirectory) -> Spool:
    spool = Spool(directory, "queues/exchange,topic")
    spool.make()
    return spool


@pytest.fixture
def living(directory: BusDirectory) -> Iterator[Presence]:
    living = Presence(directory)
    yield living
    living.end()


@pytest.fixture
def dead(directory: BusDirectory) -> str:
    """The ID of a process that died: its entry is there, and not locked."""
    presence = Presence(directory)
    presence.close_descriptors()
    return presence.id


def put(spool: Spool, sender: str, seq: int, kind: str = CAST) -> MessageName:
    name = new_name(sender, seq, kind)
    spool.put(name, b"data")
    return name


def claim(spool: Spool, name: MessageName, owner: str) -> Path:
    place = spool.claim(str(name), owner)
    assert place is not None
    return Path(spool.directory.at(place))


def test_what_a_dead_process_had_in_hand_goes_back_with_a_mark(
    recovery: Recovery, spool: Spool, living: Presence, dead: str
) -> None:
    name = put(spool, living.id, 1)
    claim(spool, name, dead)

    recovery.sweep()

    assert spool.waiting() == [str(name.count_death())]
    assert name.count_death().deaths == 1


def test_each_death_with_the_message_in_hand_counts(
    recovery: Recovery, spool: Spool, living: Presence, directory: BusDirectory
) -> None:
    name = put(spool, living.id, 1)

    for deaths in (1, 2):
        victim = Presence(directory)
        claim(spool, name, victim.id)
        victim.close_descriptors()
        recovery.sweep()
        name = name.count_death()
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
    listener = spool.open_wake(os.O_RDWR)
    put(spool, dead, 1)
    os.read(listener, 1)  # the dead process took the hint

    recovery.sweep()

    assert os.read(listener, 1) == b"\0"
    os.close(listener)


def test_all_traces_of_the_dead_go(
    recovery: Recovery, spool: Spool, dead: str, directory: BusDirectory
) -> None:
    directory.ensure("fanout/exchange,topic")
    fanout = Spool(directory, f"fanout/exchange,topic/{dead}.1")
    fanout.make()
    put(fanout, dead, 1)
    Path(directory.at("peers", f"{dead}.sock")).touch()
    directory.ensure(f"replies/{dead}")
    Path(directory.at("replies", dead, "1")).touch()
    directory.write_new(f"{spool.place}/new/.{new_name(dead, 2, CALL)}", b"half a mes")

    recovery.sweep()

    left = [path for path in Path(directory.path).rglob("*") if dead in str(path)]
    assert left == []


def test_a_process_that_died_before_it_was_visible_is_cleaned_up_too(
    recovery: Recovery, directory: BusDirectory, spool: Spool, living: Presence
) -> None:
    name = put(spool, living.id, 1)
    claim(spool, name, "1-00000000")
    draft = Path(directory.at("peers", ".1-00000000"))
    draft.touch()
    os.utime(draft, (0, 0))

    assert recovery.recover({draft.name}) == set()

    assert not draft.exists()
    assert spool.waiting() == [str(name.count_death())]


def test_a_draft_that_is_locked_belongs_to_a_living_process_however_old_it_is(
    recovery: Recovery, directory: BusDirectory
) -> None:
    draft = Path(directory.at("peers", ".1-00000000"))
    with draft.open("w") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        os.utime(draft, (0, 0))

        assert recovery.recover({draft.name}) == {draft.name}

        assert draft.exists()


def before_the_next_lock(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    """Call `act` between open(2) and flock(2) of the next draft."""
    flock = fcntl.flock

    def act_first(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        act()
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", act_first)


def test_a_process_that_is_just_appearing_is_left_alone(
    recovery: Recovery,
    directory: BusDirectory,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Its draft exists, and is not locked yet."""
    caplog.set_level(logging.INFO)
    before_the_next_lock(monkeypatch, recovery.sweep)

    appearing = Presence(directory)

    assert directory.names("peers") == [appearing.id]
    assert "cleaning up" not in caplog.text
    appearing.end()


def test_a_process_that_is_just_mending_its_entry_is_left_alone(
    recovery: Recovery,
    directory: BusDirectory,
    spool: Spool,
    living: Presence,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its draft exists, and is not locked yet. It keeps its address, queue and message."""
    mailbox = Mailbox(directory, living.id, 1000)
    directory.ensure("fanout/exchange,topic")
    fanout = Spool(directory, f"fanout/exchange,topic/{living.id}.1")
    fanout.make()
    held = claim(spool, put(spool, living.id, 1), living.id)
    Path(directory.at("peers", living.id)).unlink()
    names = set[str]()

    def examine() -> None:
        names.update(directory.names("peers"))
        assert recovery.recover(names) == set()

    before_the_next_lock(monkeypatch, examine)

    assert living.mend()

    assert f".{living.id}" in names
    assert mailbox.is_there()
    assert Path(fanout.path).exists()
    assert held.exists()
    assert recovery.recover({living.id}) == {living.id}
    mailbox.close()
    mailbox.close_descriptors()


def test_a_process_that_cannot_mend_its_entry_leaves_no_draft_to_be_taken_for_dead(
    directory: BusDirectory, living: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    before_the_next_lock(monkeypatch, fail)
    Path(directory.at("peers", living.id)).unlink()

    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
        living.mend()

    assert directory.names("peers") == []
    assert living.mend()


def test_messages_of_an_owner_without_an_entry_go_back(
    recovery: Recovery, spool: Spool, living: Presence
) -> None:
    name = put(spool, living.id, 1)
    claim(spool, name, "1-00000000")

    recovery.sweep()

    assert spool.waiting() == [str(name.count_death())]


def test_who_leaves_gives_back_what_it_has(
    recovery: Recovery, spool: Spool, living: Presence
) -> None:
    name = put(spool, living.id, 1)
    claim(spool, name, living.id)

    recovery.give_back(living.id, [spool])

    assert spool.waiting() == [str(name.requeue())]


def test_one_cleans_up_and_others_wait_for_it(
    recovery: Recovery, dead: str, directory: BusDirectory
) -> None:
    lock = presence.lock_dead(directory, dead)
    assert lock is not None

    assert recovery.recover({dead}) == {dead}

    os.close(lock)  # the cleaning process died half-way
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
    deaths = Deaths(directory, "own")
    leaving, dying = Presence(directory), Presence(directory)
    assert deaths.read() == set()

    leaving.end()
    assert deaths.read() == set()

    dying.close_descriptors()
    assert deaths.read() == {dying.id}
    assert deaths.read() == set()
    deaths.close()


def test_if_the_kernel_lost_events_everybody_is_suspected(directory: BusDirectory) -> None:
    deaths = Deaths(directory, "own")
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    noisy = [Path(directory.at("peers", name)) for name in ("noisy", "louder")]
    for path in noisy:
        path.touch()
    for _ in range(limit // 2 + 1):  # in turn: inotify drops an event that equals the one before
        for path in noisy:
            os.close(os.open(path, os.O_WRONLY))  # sixteen thousand times
    for path in noisy:
        path.unlink()
    Path(directory.at("peers", "quiet")).touch()  # too late to be reported

    everybody = {"quiet"}
    wait_until(lambda: deaths.read() == everybody, DEADLINE, "everybody is named", interval=0)
    deaths.close()


def test_a_suspect_is_examined_until_its_lock_is_free(directory: BusDirectory) -> None:
    """The kernel reports its death a little before it releases the lock."""
    deaths = Deaths(directory, "own")
    living, dying = Presence(directory), Presence(directory)
    locked = [{living.id, dying.id}, {living.id, dying.id}, {living.id}]
    suspects = Suspects(directory, deaths, lambda _: locked.pop(0))
    assert suspects.due() == 0.0  # nobody watched before, so it has missed something perhaps
    dying.close_descriptors()
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
    """A process died while it cleaned up after another: there are two to clean up after."""
    deaths = Deaths(directory, "own")
    suspects = Suspects(directory, deaths, recovery.recover)
    dying = Presence(directory)
    dying.close_descriptors()

    suspects.listen()

    def examined() -> bool:
        suspects.examine()
        return deaths.all_names() == set()

    wait_until(examined, DEADLINE, "both are cleaned up after")
    deaths.close()


def test_without_inotify_everybody_is_examined_now_and_then(
    directory: BusDirectory, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sockets and foreign files in `peers/` are no obstacle."""
    monkeypatch.setattr("launcher.unixbus.inotify.watch", lambda _: -1)
    mailbox = Mailbox(directory, dead, 1000)
    mailbox.close_descriptors()
    Path(directory.at("peers", "stray")).touch()
    deaths = Deaths(directory, "own")
    suspects = Suspects(directory, deaths, Recovery(directory).recover)

    suspects.examine()

    assert deaths.blind
    assert deaths.all_names() == {"stray"}
    assert suspects.due() is not None
    deaths.close()


def test_what_siblings_make_at_the_same_moment_is_no_obstacle(
    recovery: Recovery, directory: BusDirectory
) -> None:
    """A draft may get its name, or be removed, while a sweep looks at it."""
    topic, over = "fanout/exchange,topic", threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            directory.ensure(topic)
            directory.ensure(f"{topic}/1-00000000.1", "new", "cur", fifos=("wake", "calls"))
            shutil.rmtree(directory.at(topic))

    sibling = threading.Thread(target=come_and_go)
    sibling.start()
    try:
        for _ in range(SWEEPS):
            recovery.sweep()
    finally:
        over.set()
        sibling.join()

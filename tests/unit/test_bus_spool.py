"""One queue: a message is claimed once, in order, and is then removed or put back."""

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.unixbus.directory import BusDirectory, open_directory
from launcher.unixbus.inbox import Inbox
from launcher.unixbus.message_name import CALL, CAST, MAX_DEATHS, MessageName, new_name, parse_name
from launcher.unixbus.spool import Spool
from tests.support.directories import short_directory

SENDER = "4242-0123abcd"
ME, OTHER = "1-00000001", "2-00000002"


@pytest.fixture
def directory() -> Iterator[BusDirectory]:
    with short_directory() as path:
        yield open_directory(str(path / "bus"))


@pytest.fixture
def spool(directory: BusDirectory) -> Spool:
    spool = Spool(directory, "queues/exchange,topic")
    spool.make()
    return spool


def put(spool: Spool, seq: int, data: bytes = b"data", kind: str = CAST) -> MessageName:
    name = new_name(SENDER, seq, kind)
    spool.put(name, data)
    return name


@pytest.mark.parametrize("part", ["wake", "new", "cur"])
def test_a_queue_of_which_a_part_was_removed_is_listened_to(spool: Spool, part: str) -> None:
    """The first listener mends it: no other was there before."""
    spool.directory.remove(f"{spool.place}/{part}")
    put(spool, 1)

    inbox = Inbox(spool)

    assert inbox.next(ME) is not None
    inbox.close()


@given(
    st.integers(0, 2**63),
    st.integers(1, 10**17),
    st.sampled_from([CALL, CAST]),
    st.integers(0, MAX_DEATHS),
    st.booleans(),
)
def test_a_name_says_all_that_is_to_be_known(
    order: int, seq: int, kind: str, deaths: int, requeued: bool
) -> None:
    name = MessageName(order, SENDER, seq, kind, deaths, requeued)

    assert parse_name(str(name)) == name
    assert name in MessageName(order, SENDER, seq, kind).variants()
    assert name.redelivered == (deaths > 0 or requeued)


@pytest.mark.parametrize(
    "text", ["", "x", "1.4242-0123abcd.1.c0", f"{1:020d}.4242.1.c0", f"{1:020d}.{SENDER}.1.x0"]
)
def test_other_names_are_none_of_ours(text: str) -> None:
    assert parse_name(text) is None


def test_messages_wait_in_the_order_in_which_they_were_sent(spool: Spool) -> None:
    names = [str(put(spool, seq)) for seq in (3, 1, 2)]

    assert spool.waiting() == names


def test_the_first_message_makes_the_queue(directory: BusDirectory) -> None:
    spool = Spool(directory, "queues/new,one")

    name = put(spool, 1, b"hello")

    path = spool.claim(str(name), ME)
    assert path is not None
    assert directory.read_trusted(path, 100) == b"hello"


def test_a_message_being_written_is_not_to_be_seen(spool: Spool, directory: BusDirectory) -> None:
    name = new_name(SENDER, 1, CAST)
    directory.write_new(f"{spool.place}/new/.{name}", b"half")

    assert spool.waiting() == []
    assert list(spool.drafts()) == [(f"{spool.place}/new/.{name}", str(name))]


def test_of_many_that_claim_a_message_one_gets_it(spool: Spool) -> None:
    names = [str(put(spool, seq)) for seq in range(1, 51)]
    barrier = threading.Barrier(8)
    won: list[str] = []

    def claim_all(owner: str) -> None:
        barrier.wait()
        won.extend(name for name in names if spool.claim(name, owner) is not None)

    threads = [threading.Thread(target=claim_all, args=(f"{n}-00000000",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(won) == names


def test_a_claimed_message_names_its_owner(spool: Spool) -> None:
    name = put(spool, 1)

    path = spool.claim(str(name), ME)

    assert spool.claim(str(name), OTHER) is None
    assert list(spool.claimed()) == [(path, str(name), ME)]
    assert spool.waiting() == []


def test_a_message_put_back_has_its_old_place_and_a_mark(spool: Spool) -> None:
    first, second = put(spool, 1), put(spool, 2)
    path = spool.claim(str(first), ME)
    assert path is not None

    spool.put_back(path, first.requeue())

    assert spool.waiting() == [str(first.requeue()), str(second)]
    assert first.requeue().redelivered
    assert not second.redelivered


def test_a_withdrawn_message_is_gone_under_whatever_name_it_waits(spool: Spool) -> None:
    names = [put(spool, seq, kind=CALL) for seq in (1, 2, 3)]
    for name, back in ((names[0], names[0].requeue()), (names[1], names[1].count_death())):
        path = spool.claim(str(name), ME)
        assert path is not None
        spool.put_back(path, back)

    for name in names:
        assert spool.poke_if_waiting(name)
        spool.withdraw(name)
        assert not spool.poke_if_waiting(name)

    assert spool.waiting() == []


def test_a_claimed_message_cannot_be_withdrawn(spool: Spool) -> None:
    name = put(spool, 1, kind=CALL)
    place = spool.claim(str(name), ME)

    spool.withdraw(name)

    assert place is not None
    assert spool.directory.facts(place) is not None


def test_a_poke_tells_whether_anybody_listens(spool: Spool) -> None:
    assert not spool.poke()

    listener = spool.open_wake(os.O_RDWR)
    assert spool.poke()
    assert os.read(listener, 10) == b"\0"

    os.close(listener)
    assert not spool.poke()


def test_a_full_fifo_is_as_good_as_a_byte(spool: Spool) -> None:
    listener = spool.open_wake(os.O_RDWR)
    with suppress(BlockingIOError):
        while os.write(listener, b"x" * 4096):
            pass

    assert spool.poke()
    put(spool, 1)
    os.close(listener)


def test_a_name_too_long_to_be_claimed_is_removed(spool: Spool) -> None:
    stray = Path(spool.path, "new", "x" * 250)
    stray.touch()

    assert spool.claim(stray.name, ME) is None
    assert not stray.exists()


def test_whatever_lies_there_can_be_removed(spool: Spool, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.touch()
    tree = Path(spool.path, "new", "tree")
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "file").touch()
    link = Path(spool.path, "new", "link")
    link.symlink_to(kept)

    for name in ("tree", "link", "nothing"):
        spool.directory.remove(f"{spool.place}/new/{name}")

    assert spool.waiting() == []
    assert kept.exists()

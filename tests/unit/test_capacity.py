"""The limit of unfinished messages of a server."""

import os
from collections.abc import Iterator

import pytest

from launcher.listening.capacity import Capacity


@pytest.fixture
def bell() -> Iterator[int]:
    bell = os.eventfd(0, os.EFD_NONBLOCK)
    yield bell
    os.close(bell)


def rung(bell: int) -> bool:
    try:
        return os.eventfd_read(bell) > 0
    except BlockingIOError:
        return False


def test_there_is_room_until_as_many_are_out_as_may_be(bell: int) -> None:
    room = Capacity(2, bell)

    for full_after in (False, True):
        assert not room.full()
        room.take()
        assert room.full() == full_after


def test_the_bell_rings_only_for_one_who_waits_for_room(bell: int) -> None:
    room = Capacity(1, bell)
    room.take()
    room.finish()
    assert not rung(bell)
    assert not room.full()

    room.take()
    assert room.full()
    room.finish()
    assert rung(bell)
    assert not room.full()

    room.take()
    room.finish()
    assert not rung(bell)

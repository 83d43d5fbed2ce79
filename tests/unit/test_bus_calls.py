"""How long a caller waits, and how often it tries to send."""

import errno
import time
from collections.abc import Callable

import pytest
from oslo_messaging import MessageDeliveryFailure, MessagingTimeout

from launcher.unixbus import sending
from launcher.unixbus.calls import CallDeadline
from launcher.unixbus.sending import encode_bounded, store
from launcher.unixbus.wire import Message


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Disk:
    """Refuses the first `refusals` messages; by default all."""

    def __init__(self, code: int, refusals: int = 1_000_000) -> None:
        self.attempts = 0
        self._code = code
        self._refusals = refusals

    def put(self) -> None:
        self.attempts += 1
        if self.attempts <= self._refusals:
            raise OSError(self._code, "No space left on device")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Senders pause for almost no time between two tries."""
    monkeypatch.setattr(sending, "FIRST_PAUSE", 0.001)


def test_patience_ends_with_the_timeout() -> None:
    clock = Clock()
    deadline = CallDeadline(10, None, clock)
    assert (deadline.until, deadline.for_server()) == (110.0, 110 * 10**9)

    clock.now = 109.9
    deadline.renew()
    assert not deadline.over()
    clock.now = 110.0
    assert deadline.over()


def test_a_monitored_call_is_given_up_when_there_is_no_sign_of_life() -> None:
    clock = Clock()
    deadline = CallDeadline(3600, 2, clock)
    assert deadline.for_server() == 102 * 10**9  # a server that takes the call later drops it

    clock.now = 101.9
    deadline.renew()
    clock.now = 103.8
    assert not deadline.over()
    clock.now = 103.9
    assert deadline.over()


def test_signs_of_life_do_not_outlast_the_timeout() -> None:
    clock = Clock()
    deadline = CallDeadline(3, 2, clock)
    clock.now = 101.9
    deadline.renew()
    assert deadline.until == 103.0


def test_a_call_without_a_timeout_has_no_deadline() -> None:
    assert CallDeadline(None, None, Clock()).for_server() is None
    assert CallDeadline(None, 2, Clock()).for_server() == 102 * 10**9
    assert not CallDeadline(None, 0, Clock()).over()


def test_a_full_disk_is_told_at_once() -> None:
    disk = Disk(errno.ENOSPC)

    with pytest.raises(MessageDeliveryFailure, match=r"in /bus: No space left on device"):
        store(disk.put, "/bus", retry=None, until=None)
    assert disk.attempts == 1


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("retry", [0, 1, 3])
def test_a_message_is_tried_again_as_often_as_is_asked(retry: int) -> None:
    disk = Disk(errno.ENOSPC)

    with pytest.raises(MessageDeliveryFailure):
        store(disk.put, "/bus", retry=retry, until=None)
    assert disk.attempts == 1 + retry


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("retry", [2, -1])
def test_a_message_is_stored_once_it_can_be(retry: int) -> None:
    disk = Disk(errno.EDQUOT, refusals=2)

    store(disk.put, "/bus", retry=retry, until=None)
    assert disk.attempts == 3


@pytest.mark.usefixtures("hasty")
def test_the_timeout_ends_endless_attempts() -> None:
    disk = Disk(errno.ENOSPC)

    with pytest.raises(MessagingTimeout, match="No space left"):
        store(disk.put, "/bus", retry=-1, until=time.monotonic() + 0.02)
    assert disk.attempts > 1


def loop() -> dict[str, object]:
    inner: dict[str, object] = {}
    inner["inner"] = inner
    return inner


@pytest.mark.parametrize("make", [loop, lambda: {"args": {"x": "y" * 1000}}])
def test_what_cannot_be_sent_is_refused(make: Callable[[], dict[str, object]]) -> None:
    with pytest.raises(
        MessageDeliveryFailure, match=r"cannot be written as JSON|the bus takes 500"
    ):
        encode_bounded(Message({}, make()), 500)

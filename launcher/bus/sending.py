"""Storing a message, with the number of attempts that the sender allows."""

import time
from collections.abc import Callable

from oslo_messaging import MessageDeliveryFailure, MessagingTimeout

from launcher.bus.wire import Message, encode_message

FIRST_PAUSE = 0.05  # seconds between two attempts, doubled each time
LAST_PAUSE = 1.0


def encode_bounded(message: Message, limit: int) -> bytes:
    """The bytes of a message.

    :raises MessageDeliveryFailure: they are too many, or it cannot be expressed in JSON.
    """
    try:
        data = encode_message(message)
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageDeliveryFailure(
            f"the message is not made of plain values: {error}"
        ) from error
    if len(data) > limit:
        raise MessageDeliveryFailure(
            f"the message has {len(data)} bytes and the bus takes {limit} at most "
            f"(max_message_size)"
        )
    return data


def store(put: Callable[[], None], place: str, retry: int | None, until: float | None) -> None:
    """Call `put` until it succeeds. It stores the whole message or nothing, so that none is
    stored twice.

    :param retry: how often to try again after an error. None: not at all, since what keeps a
        message from being stored (a full disk, missing permissions) does not pass by itself.
        Negative: for ever.
    :param until: by time.monotonic(); None: no matter how long that takes.
    :raises MessageDeliveryFailure: it cannot be stored. :raises MessagingTimeout: not in time.
    """
    left = retry or 0
    pause = FIRST_PAUSE
    while True:
        try:
            return put()
        except OSError as error:
            reason = f"the message cannot be stored in {place}: {error.strerror or error}"
            if left == 0:
                raise MessageDeliveryFailure(reason) from error
            if until is not None and time.monotonic() + pause > until:
                raise MessagingTimeout(reason) from error
        time.sleep(pause)
        left -= 1
        pause = min(2 * pause, LAST_PAUSE)

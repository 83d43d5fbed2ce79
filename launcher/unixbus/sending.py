"""Storing a message, as often as the sender wants it tried, or for each listener."""

import logging
import time
from collections.abc import Callable

from oslo_messaging import MessageDeliveryFailure, MessagingTimeout

from launcher.unixbus.directory import BusDirectory
from launcher.unixbus.message_name import MessageName
from launcher.unixbus.spool import Spool
from launcher.unixbus.wire import Message, encode_message

LOG = logging.getLogger(__name__)

FIRST_PAUSE = 0.05  # seconds between two attempts, doubled each time
LAST_PAUSE = 1.0


def encode_bounded(message: Message, limit: int) -> bytes:
    """Encode a message.

    :param limit: bytes.
    :raises MessageDeliveryFailure: it is larger, or cannot be written as JSON.
    """
    try:
        data = encode_message(message)
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageDeliveryFailure(f"the message cannot be written as JSON: {error}") from error
    if len(data) > limit:
        raise MessageDeliveryFailure(
            f"the message has {len(data)} bytes and the bus takes {limit} at most "
            f"(max_message_size)"
        )
    return data


def store(put: Callable[[], None], place: str, retry: int | None, until: float | None) -> None:
    """Call `put` until it succeeds.

    :param put: stores the whole message or nothing, so a retry stores no second copy.
    :param retry: number of retries after errors. None: no retry, since the usual causes (a full
        disk, missing permissions) last. Negative: retry for ever.
    :param until: by time.monotonic(); None: no limit.
    :raises MessageDeliveryFailure: the message cannot be stored.
    :raises MessagingTimeout: it cannot be stored in time.
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


def store_for_each(directory: BusDirectory, top: str, name: MessageName, data: bytes) -> None:
    """Store a message for each listener that has its queue below `top`.

    :raises OSError: it is stored for none of them.
    """
    draft = f"{top}/.{name}"
    try:
        directory.write_new(draft, data)
    except FileNotFoundError:  # there never was a listener
        return
    try:
        for listener in directory.names(top):
            if not listener.startswith("."):
                _link(Spool(directory, f"{top}/{listener}"), name, draft)
    finally:
        directory.unlink(draft)


def _link(queue: Spool, name: MessageName, draft: str) -> None:
    """Store it for one listener, and log an error: raising it would have the sender retry, and the
    other listeners would get the message twice."""
    try:
        queue.link(name, draft)
    except (FileNotFoundError, NotADirectoryError):  # the listener has gone; a foreign file
        pass
    except OSError as error:
        LOG.error("message %s cannot be stored in %s: %s", name.message_id, queue.path, error)

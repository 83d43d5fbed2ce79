"""The file name of a message, with its order, its sender, its kind, and its history."""

import re
import time
from collections.abc import Iterator
from typing import NamedTuple

CALL = "c"  # its sender waits for a reply
CAST = "n"
MAX_DEATHS = 2  # owners that died while they executed the message; then it is dropped

_NAME = re.compile(r"(\d{20})\.(\d{1,10}-[0-9a-f]{8})\.(\d{1,18})\.([cn])(\d)(r?)")


class MessageName(NamedTuple):
    """The name of a message's file.

    :ivar order: CLOCK_MONOTONIC in ns when it was sent; a queue hands out the oldest first.
    :ivar sender: ID of the sending process, to which a reply goes.
    :ivar seq: number of the message among those of its sender.
    :ivar deaths: number of owners that died while they executed the message.
    :ivar requeued: an owner gave it back.
    """

    order: int
    sender: str
    seq: int
    kind: str
    deaths: int = 0
    requeued: bool = False

    def __str__(self) -> str:
        mark = "r" if self.requeued else ""
        return f"{self.order:020d}.{self.sender}.{self.seq}.{self.kind}{self.deaths}{mark}"

    @property
    def redelivered(self) -> bool:
        """Whether another owner had the message before, and may have executed it in part."""
        return self.requeued or self.deaths > 0

    @property
    def message_id(self) -> str:
        """Unique on this bus."""
        return f"{self.sender}.{self.seq}"

    def requeue(self) -> "MessageName":
        """The name of the message after its owner has given it back."""
        return self._replace(requeued=True)

    def count_death(self) -> "MessageName":
        """The name of the message after its owner has died."""
        return self._replace(deaths=self.deaths + 1)

    def variants(self) -> "Iterator[MessageName]":
        """The names under which the message may wait by now."""
        for deaths in range(self.deaths, MAX_DEATHS + 1):
            for requeued in (False, True):
                yield self._replace(deaths=deaths, requeued=requeued)


def new_name(sender: str, seq: int, kind: str) -> MessageName:
    """The name of a message that is sent now."""
    return MessageName(time.monotonic_ns(), sender, seq, kind)


def parse_name(text: str) -> MessageName | None:
    """Parse a file name; None: it is not a message's."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    order, sender, seq, kind, deaths, mark = match.groups()
    return MessageName(int(order), sender, int(seq), kind, int(deaths), bool(mark))

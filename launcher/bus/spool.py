"""A queue: a directory, a maildir for RPC.

A message is written under a name that begins with a dot, renamed into `new/`, and one byte is
written into the FIFO `wake`. Whoever renames it on to `cur/NAME@OWNER` has claimed it: there is
one winner, and the name tells whose it is when the owner is found dead. Acknowledging unlinks it.

Bytes in the FIFO are hints. Whoever empties the FIFO scans `new/` *after* that, so it sees every
message whose byte it took; and if it leaves any, it writes a byte before it goes on. So while a
message waits, either a byte waits too or somebody awake has seen it. What dies in between is
found by its siblings (`deaths`), who then write a byte; a caller writes another after a while.
"""

# System calls by their names: this is the way of every message.
# ruff: noqa: PTH104, PTH108, PTH208

import errno
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from launcher.bus.directory import BusDirectory

CALL = "c"  # its sender waits for a reply
CAST = "n"
MAX_DEATHS = 2  # owners that died with the message in hand; then nobody gets it any more

_NAME = re.compile(r"(\d{20})\.(\d{1,10}-[0-9a-f]{8})\.(\d{1,18})\.([cn])(\d)(r?)")


class MessageName(NamedTuple):
    """What a message's file name says.

    :ivar order: CLOCK_MONOTONIC in ns when it was sent; queues are served in this order.
    :ivar sender: ID of the sender, which also says where a reply goes.
    :ivar deaths: how many owners died with the message in hand.
    :ivar requeued: an owner put it back.
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
        """Somebody had it before, and may have executed it in part."""
        return self.requeued or self.deaths > 0

    @property
    def message_id(self) -> str:
        """Unique on this bus."""
        return f"{self.sender}.{self.seq}"

    def requeue(self) -> "MessageName":
        """The name of the message put back by its owner."""
        return self._replace(requeued=True)

    def variants(self) -> "Iterator[MessageName]":
        """The names under which the message may wait by now."""
        for deaths in range(self.deaths, MAX_DEATHS + 1):
            for requeued in (False, True):
                yield self._replace(deaths=deaths, requeued=requeued)

    def survive(self) -> "MessageName":
        """The name of the message put back for an owner that is no more."""
        return self._replace(deaths=self.deaths + 1)


def new_name(sender: str, seq: int, kind: str) -> MessageName:
    """Of a message sent now."""
    return MessageName(time.monotonic_ns(), sender, seq, kind)


def parse_name(text: str) -> MessageName | None:
    """None: not one of ours."""
    match = _NAME.fullmatch(text)
    if match is None:
        return None
    order, sender, seq, kind, deaths, mark = match.groups()
    return MessageName(int(order), sender, int(seq), kind, int(deaths), bool(mark))


class Spool:
    """One queue. Holds no descriptor: any thread, any process."""

    def __init__(self, directory: BusDirectory, path: str) -> None:
        self.directory = directory
        self.path = path
        self._new = f"{path}/new"
        self._cur = f"{path}/cur"
        self.wake = f"{path}/wake"

    def make(self) -> None:
        """Make what is missing. :raises OSError: it cannot be made."""
        if not Path(self.wake).exists():
            self.directory.make(self.path, "new", "cur", fifo="wake")

    def put(self, name: MessageName, data: bytes) -> None:
        """Store a message and wake one listener. :raises OSError: it is not stored."""
        draft = f"{self._new}/.{name}"
        try:
            self.directory.write_new(draft, data)
        except FileNotFoundError:  # nobody ever used this queue
            self.make()
            self.directory.write_new(draft, data)
        try:
            os.rename(draft, f"{self._new}/{name}")
        except OSError:
            with suppress(OSError):  # the first error counts
                os.unlink(draft)
            raise
        self.poke()

    def link(self, name: MessageName, draft: str) -> None:
        """Store a message that lies written at `draft`, and wake one listener.

        :raises OSError: it is not stored.
        """
        os.link(draft, f"{self._new}/{name}")
        self.poke()

    def poke(self) -> bool:
        """Wake one listener; False if nobody listens."""
        try:
            descriptor = os.open(self.wake, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            # ENXIO: nobody listens. ENOENT: and never did. Else (EMFILE…): somebody may, but the
            # message is stored, which is what counts.
            return error.errno not in (errno.ENXIO, errno.ENOENT)
        try:
            os.write(descriptor, b"\0")
        except (BlockingIOError, BrokenPipeError):  # full, which wakes as well; gone meanwhile
            pass
        finally:
            os.close(descriptor)
        return True

    def nudge(self, name: MessageName) -> bool:
        """Poke if the message still waits; whether it does."""
        waits = any(os.path.lexists(f"{self._new}/{each}") for each in name.variants())
        if waits:
            self.poke()
        return waits

    def withdraw(self, name: MessageName) -> None:
        """Remove the message if nobody has claimed it."""
        for each in name.variants():
            with suppress(OSError):  # claimed, done, or never stored
                os.unlink(f"{self._new}/{each}")

    def waiting(self) -> list[str]:
        """Names in `new/`, oldest first, garbage included."""
        return sorted(name for name in os.listdir(self._new) if not name.startswith("."))

    def claim(self, name: str, owner: str) -> str | None:
        """The path of the message, now ours; None if somebody else was faster.

        :raises OSError: it can neither be claimed nor removed.
        """
        path = f"{self._cur}/{name}@{owner}"
        try:
            os.rename(f"{self._new}/{name}", path)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            remove(f"{self._new}/{name}")  # none of ours
            return None
        return path

    def put_back(self, path: str, name: MessageName) -> None:
        """Return a claimed message under a new name, and wake one listener.

        :raises OSError: it is not ours any more, or cannot be renamed.
        """
        os.rename(path, f"{self._new}/{name}")
        self.poke()

    def claimed(self) -> Iterator[tuple[str, str, str]]:
        """(path, name, owner) of all claimed messages."""
        with suppress(FileNotFoundError, NotADirectoryError):  # being removed; a stray file
            for entry in os.listdir(self._cur):
                name, _, owner = entry.rpartition("@")
                yield f"{self._cur}/{entry}", name, owner

    def drafts(self) -> Iterator[tuple[str, str]]:
        """(path, name) of messages that are being written, or never will be whole."""
        with suppress(FileNotFoundError, NotADirectoryError):  # as above
            for entry in os.listdir(self._new):
                if entry.startswith("."):
                    yield f"{self._new}/{entry}", entry[1:]


def remove(path: str) -> None:
    """Remove whatever lies at the path, a directory with all that is in it too."""
    try:
        os.unlink(path)
    except IsADirectoryError:
        shutil.rmtree(path, ignore_errors=True)
    except FileNotFoundError:
        pass  # gone is what it was to be

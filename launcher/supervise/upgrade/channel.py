"""What two masters say to each other in an upgrade: JSON objects, a line each, through a socket.

They may be of different versions. So a message has an `event`, and whoever does not know the event
or one of its fields ignores it. In their order, the new master on the left:

    hello                           protocol, version, pid
              hello                 what the new one needs for its start
    progress                        what STATUS would say; again and again
    failed                          it ends; reason
    ready                           all its workers are proven
              take                  the listening sockets; half of the lock is free, no lead
    taken                           it has that half
              yours                 the rest of the lock is free; what the files of the history
                                    lack; whether it is systemd's main process, without a way back
    done                            it is in charge
              signal                one that waited for the end of the upgrade; number
              event                 what happens to the old one from here on
              drained               its workers have ended; whether it has killed any
    moved                           later: the pid of the next master, for the first process
    hurry                           the first process is to kill its workers

A death closes the socket. Before `yours` the old master is in charge, after it the new one.
"""

import json
import os
import select
import socket
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from launcher.foreign_text import fit

PROTOCOL = 1
VARIABLE = "LAUNCHER_UPGRADE"  # of the environment: the descriptors of the new master, as JSON
MOST_BYTES = 1 << 17
MOST_CHARACTERS = 1000  # of each text in a message that would be longer
MOST_SOCKETS = 8


class Closed(Exception):
    """The other master has ended, or says what is no message."""


class Message(NamedTuple):
    """:ivar facts: the fields, without `event`. :ivar descriptors: the receiver's own."""

    event: str
    facts: dict[str, Any]
    descriptors: list[int]


class Channel:
    """One end. One thread receives; any thread sends. A message is one packet: see unix(7),
    SOCK_SEQPACKET."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self._connection = connection

    @classmethod
    def pair(cls) -> tuple["Channel", "Channel"]:
        """Both ends."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """The descriptor."""
        return self._connection.fileno()

    def close(self) -> None:
        """Close this end: the other master takes it for the death of this one."""
        self._connection.close()

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork."""
        if (descriptor := self._connection.detach()) >= 0:
            os.close(descriptor)

    def send(self, event: str, descriptors: Sequence[int] = (), **facts: Any) -> None:
        """Send a message. Never blocks. If it is too long, its texts are cut.

        :raises Closed: the other master has ended, or has not read for long.
        """
        message = {"event": event, **facts}
        line = _encode(message)
        if len(line) > MOST_BYTES:
            line = _encode(_cut(message))
        try:
            socket.send_fds(self._connection, [line], list(descriptors))
        except OSError as error:
            raise Closed from error

    def receive(self, seconds: float) -> Message | None:
        """Wait for the next message; None: none came within that time.

        :raises Closed: none will come.
        """
        if not self.readable(seconds):
            return None
        try:
            line, descriptors, _, _ = socket.recv_fds(self._connection, MOST_BYTES, MOST_SOCKETS)
            for descriptor in descriptors:  # Python 3.11 gives recvmsg(2) no flag for that
                os.set_inheritable(descriptor, False)
            facts = json.loads(line)
            return Message(str(facts.pop("event")), facts, descriptors)
        except BlockingIOError:
            return None
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise Closed from error  # no text is no JSON either: the end of the connection

    def readable(self, seconds: float | None) -> bool:
        """Whether a message, or the end, has come within that time. None: wait without a limit."""
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(None if seconds is None else max(0.0, 1000 * seconds)))

    def expect(self, event: str, deadline: float) -> Message:
        """Return the next message of this kind; others before it are dropped.

        :param deadline: monotonic seconds.
        :raises Closed: it does not come in time, or not at all.
        """
        while (left := deadline - time.monotonic()) > 0:
            found = self.receive(left)
            if found and found.event == event:
                return found
        raise Closed


def _encode(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode("ascii") + b"\n"


def _cut(fact: Any) -> Any:
    if isinstance(fact, dict):
        return {name: _cut(each) for name, each in fact.items()}
    return fit(fact, MOST_CHARACTERS) if isinstance(fact, str) else fact

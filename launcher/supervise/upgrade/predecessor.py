"""The old master, as the new one sees it."""

import json
import os
import socket
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any, Self

from launcher import __version__
from launcher.board.board import SIDES, Board
from launcher.config.options import MOST_WORKERS
from launcher.errors import LauncherError, OptionError, PredecessorGone
from launcher.supervise.upgrade.channel import PROTOCOL, VARIABLE, Channel, Closed

GREETING_SECONDS = 30.0


class Predecessor:
    """Made before there are threads. Without its hello, all facts are missing.

    :ivar channel: leads to it. :ivar first: leads to the process that stays as parent; it may be
        the same one. None: there is none.
    """

    def __init__(self, channel: Channel, first: Channel | None) -> None:
        self.channel = channel
        self.first = first
        self._facts: Mapping[str, Any] = {}

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Self | None:
        """The master that has started this one for an upgrade; None: nobody has. It *removes* the
        variable from `environ`.

        :raises LauncherError: the variable does not name our descriptors.
        """
        text = environ.pop(VARIABLE, None)
        if text is None:
            return None
        try:
            numbers = json.loads(text)
            channel = _channel(numbers["channel"])
            if (number := numbers.get("first")) is None:
                return cls(channel, None)
            return cls(channel, channel if number == numbers["channel"] else _channel(number))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise LauncherError(reason=f"{VARIABLE}={text} is not of an upgrade") from error

    def greet(self) -> None:
        """Tell who we are, and be told what we need.

        :raises PredecessorGone: it is not told. :raises LauncherError: it has no pid.
        """
        try:
            self.channel.send("hello", protocol=PROTOCOL, version=__version__, pid=os.getpid())
            self._facts = self.channel.expect("hello", time.monotonic() + GREETING_SECONDS).facts
        except Closed as error:
            raise PredecessorGone from error
        if not isinstance(pid := self._facts.get("pid"), int) or pid <= 0:
            raise LauncherError(reason=f"the master before says that its pid is {pid}")

    def check(self, ours: Mapping[str, object]) -> None:
        """Compare the options that an upgrade cannot change, by their names.

        :raises OptionError: one has changed.
        """
        for name, value in ours.items():
            if name in self._facts and self._facts[name] != value:
                problem = f"an upgrade cannot change it from {self._facts[name]}; restart instead"
                raise OptionError(option=name, problem=problem)

    @property
    def pid(self) -> int:
        """Its pid."""
        return int(self._facts["pid"])

    @property
    def version(self) -> str:
        """Its version."""
        return str(self._facts.get("version", "unknown"))

    @property
    def counts(self) -> dict[str, int]:
        """How many upgrades there were, with this one."""
        counts: dict[str, int] = {"done": 0, "failed": 0}
        counts |= self._facts.get("counts", {})
        return counts | {"done": counts["done"] + 1}

    def workers(self, configured: int) -> int:
        """How many workers are wanted: a number that was scaled by hand stays, unless the
        configured one has changed."""
        scaled = int(self._facts.get("workers", configured))
        return min(scaled, MOST_WORKERS) if self._has_configured(configured) else configured

    def holds(self, configured: int) -> bool:
        """Whether that number does not follow the demand, since an operator has scaled."""
        return self._facts.get("held") is True and self._has_configured(configured)

    def _has_configured(self, number: int) -> bool:
        return bool(self._facts.get("configured", number) == number)

    def prepare(self, board: Board, tasks: Mapping[str, int]) -> None:
        """Called before the first fork. :param tasks: the numbers of tasks by their name."""
        side = self._facts.get("side")
        board.take_side(side if side in SIDES else SIDES[-1])
        board.stand_beside(beside=True)
        self.note_tasks(board, tasks, self._facts)

    @staticmethod
    def note_tasks(board: Board, tasks: Mapping[str, int], facts: Mapping[str, Any]) -> None:
        """Note when the host-wide tasks of the old master last began."""
        for name, started in facts.get("tasks", {}).items():
            if name in tasks:
                board.take_over_host_task(tasks[name], int(started))

    def listens_at(self, name: str, address: str) -> bool:
        """Whether its socket is handed over. If not, the new master opens one of its own."""
        return [name, address] in self._facts.get("sockets", [])

    def tell_failure(self, reason: object) -> None:
        """Tell why the new master ends."""
        with suppress(Closed):
            self.channel.send("failed", reason=str(reason))

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork."""
        self.channel.close_in_child()
        if self.first:
            self.first.close_in_child()


def task_numbers(names: Sequence[str]) -> Mapping[str, int]:
    """The numbers of tasks by their name."""
    return {name: number for number, name in enumerate(names)}


def _channel(number: object) -> Channel:
    """Raises OSError or TypeError for what is no socket."""
    if not isinstance(number, int):
        raise TypeError(number)
    os.set_inheritable(number, False)
    return Channel(socket.socket(fileno=number))

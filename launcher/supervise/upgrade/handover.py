"""The old master puts the new one in charge, whose workers are proven.

The last step is MAINPID= to systemd; without systemd, the message `yours`. Until then nothing is
lost here, and this master can go on.
"""

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Any

from launcher.errors import DirectoryLost, ServiceStopping, SuccessorFailed, SuccessorLost
from launcher.supervise.upgrade.channel import Channel, Closed
from launcher.supervise.upgrade.parent import FirstProcess, Parent
from launcher.supervise.upgrade.parts import Listening, MasterParts
from launcher.supervise.upgrade.successor import Successor

LOG = logging.getLogger(__name__)

SYSTEMD_SECONDS = 5.0  # for systemd to take a message
# For the new master to say that it is in charge. With systemd there is no way back: its watchdog
# judges a main process that hangs.
DONE_SECONDS, MAIN_PROCESS_SECONDS = 10.0, 60.0


class HandOver:
    """One an upgrade, in its thread."""

    def __init__(
        self,
        parts: MasterParts,
        servers: Iterable[Listening],
        successor: Successor,
        parent: Parent,
        first: Channel | None,
    ) -> None:
        """:param first: see Upgrade."""
        self._parts = parts
        self._servers = servers
        self._successor = successor
        self._parent = parent
        self._first = first

    def put_in_charge(self) -> None:
        """Return when the new master is in charge. If it is not, `recover` comes next.

        :raises SuccessorFailed: it is not. :raises ServiceStopping: a stop came first.
        :raises SuccessorLost: it was in charge, and systemd waits for it, but it failed.
        """
        parts, successor = self._parts, self._successor
        self._prepare_servers()
        parts.monitor.activity = "upgrading: the new master takes over"
        parts.monitor.leads = False  # the lead ends its host-wide tasks, and releases the lock
        parts.roll.await_look()
        parts.history.hold()
        parts.instance.lend()
        descriptors = [server.fileno() for server in self._servers]
        successor.say("take", descriptors, sockets=named(self._servers))
        successor.expect("taken")
        if not parts.stop.hand_over(self._commit):
            if parts.board.stopping:
                raise ServiceStopping
            raise SuccessorFailed(reason="systemd does not take the pid of the new main process")

    def _prepare_servers(self) -> None:
        try:
            for server in self._servers:
                server.prepare_to_hand_on()
        except OSError as error:
            reason = f"this one cannot hand its sockets on: {error.strerror}"
            raise SuccessorFailed(reason=reason) from error

    def _commit(self) -> bool:
        """Called while no stop can begin; return whether the new master is in charge. Raises as
        `put_in_charge`."""
        parts, successor = self._parts, self._successor
        parts.instance.give_up()
        end = time.monotonic() + SYSTEMD_SECONDS
        systemd = self._parent is Parent.SYSTEMD
        if systemd and not parts.notifier.name_successor(successor.pid, end):
            return False
        parts.board.stand_beside(beside=True)
        parts.stop.pass_on = lambda _: tell(successor.channel, "stop")
        try:
            history = parts.history.to_hand_on()
            successor.say("yours", tasks=parts.host_tasks(), history=history, main=systemd)
            successor.expect("done", MAIN_PROCESS_SECONDS if systemd else DONE_SECONDS)
        except SuccessorFailed as error:
            parts.board.stand_beside(beside=False)  # the other one may still drain for long
            if not successor.withdrew:  # else its workers drain, and it is not in charge
                successor.end(0, lambda: True)
            if not systemd:
                raise
            raise SuccessorLost(pid=successor.pid, reason=error.reason) from error
        return True

    def stay_alone(self) -> None:
        """Nobody else writes the history, and marks the row down in the end. Called after
        SuccessorLost, too: the new master has ended, or will not be in charge."""
        self._parts.board.stand_beside(beside=False)
        self._parts.history.release()

    def recover(self, runtime_path: str) -> None:
        """Be in charge as before: the new master has ended."""
        parts = self._parts
        self.stay_alone()
        parts.monitor.leads = True
        try:
            parts.instance.take_back()
        except OSError:
            # Another service has taken the lock in the moment after the death of the new master.
            parts.stop.fail(DirectoryLost(runtime_path=runtime_path))

    def retire(self) -> FirstProcess | None:
        """Hand all on; the workers are to drain next. Return this process as the first one, if it
        is to stay. Nothing here fails: the new master is in charge already."""
        parts, successor = self._parts, self._successor
        stays = None
        parts.history.release(lambda fact: tell(successor.channel, "event", fact=fact))
        for server in self._servers:
            server.hand_on()
        if self._parent is Parent.OURSELVES:
            hurry = partial(parts.stop.at_once, "the service is to end at once")
            stays = FirstProcess(successor.pid, successor.channel, hurry)
            parts.stop.follow = lambda _: stays.wait(killed=parts.stop.killing.any)
            try:
                stays.listen()
            except RuntimeError as error:  # signals reach it all the same
                LOG.warning("the new master is not heard: %s", error)
        elif self._first:
            tell(self._first, "moved", pid=successor.pid)
        LOG.info("pid %d, version %s, is in charge", successor.pid, successor.version)
        return stays


def named(servers: Iterable[Listening]) -> list[list[str]]:
    """Name and address of each."""
    return [[server.name, server.address] for server in servers]


def tell(channel: Channel, event: str, **facts: Any) -> None:
    """Send a message to a master that may have ended."""
    with suppress(Closed):  # it has ended, and the service with it
        channel.send(event, **facts)

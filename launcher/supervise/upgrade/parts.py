"""The parts of a master that an upgrade needs."""

import socket
from typing import NamedTuple, Protocol

from launcher.board.board import Board
from launcher.supervise.operations.roll import Roll
from launcher.supervise.operations.stop import Stop
from launcher.supervise.policy import InForce
from launcher.supervise.processes.forking import ForkingManager
from launcher.supervise.processes.instance_lock import Instance
from launcher.supervise.watch.history import History
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.notify import Notifier


class MasterParts(NamedTuple):
    """Of either master."""

    board: Board
    monitor: Monitor
    roll: Roll
    stop: Stop
    notifier: Notifier
    instance: Instance
    history: History
    forking: ForkingManager
    policy: InForce

    def host_tasks(self) -> dict[str, int]:
        """When each host-wide task was last started, by its name: monotonic nanoseconds."""
        started = {
            name: self.board.host_task_started(number)
            for number, name in enumerate(self.policy().tasks)
        }
        return {name: at for name, at in started.items() if at}


class Listening(Protocol):
    """An HTTP server, by its name and its address, as the old master sees it."""

    name: str
    address: str

    def fileno(self) -> int: ...
    def prepare_to_hand_on(self) -> None: ...
    def hand_on(self) -> None: ...
    def wait_for_answers(self, seconds: float) -> None: ...


class Adopting(Protocol):
    """The same, as the new master sees it."""

    name: str
    address: str

    def listen_at(self, fresh: socket.socket) -> None: ...
    def start(self) -> None: ...

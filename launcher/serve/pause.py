"""A worker's pause: it takes no calls while the master wants that. All else goes on."""

import logging
import threading
from collections.abc import Callable

from launcher.board.board import Board
from launcher.board.slot import Slot
from launcher.serve.rpc_server import Server

LOG = logging.getLogger(__name__)

AGAIN_SECONDS = 0.5  # between two attempts


class Pause:
    """One a worker. Any thread calls `follow`, after each change on the board."""

    def __init__(self, board: Board, slot: Slot) -> None:
        self._board = board
        self._slot = slot
        self._lock = threading.Lock()
        self._apply: Callable[[bool], bool] | None = None

    def govern(self, apply: Callable[[bool], bool]) -> None:
        """Called before the servers start.

        :param apply: pauses the servers, or ends their pause; returns whether that succeeded.
        """
        self._apply = apply
        self._obey()

    def refuse(self) -> None:
        """Have the master refuse a pause from now on, and take back one that it has accepted:
        calls would be lost. Any thread."""
        self._slot.put("unpausable", 1)
        self._obey()

    def start(self, server: Server, listen: Callable[[Server], object]) -> None:
        """Start a server so that it takes no call if the board wants a pause.

        :param listen: starts it. Raises what that raises.
        """
        self.govern(server.set_paused)
        listen(server)
        self._obey()  # the listener may have missed a change

    def follow(self) -> None:
        """Do as the board says, and note on it what is so. A listener that is connecting to its
        broker obeys later: this returns when it has."""
        told = False
        while not self._obey():
            if not told:
                LOG.warning("a listener has not begun or ended its pause yet")
            told = True
            threading.Event().wait(AGAIN_SECONDS)

    def _obey(self) -> bool:
        """Return whether the servers do as the board says."""
        with self._lock:
            if self._apply is None:
                return True  # `govern` will
            refused = bool(self._slot.get("unpausable"))
            wanted = self._board.wants_pause(self._slot.number) and not refused
            if not self._apply(wanted):
                return False
            if wanted is not bool(self._slot.get("paused")):
                self._slot.put("paused", int(wanted))
                LOG.info("%s", "paused: no calls are taken" if wanted else "resumed")
            return True

"""What the master asks of a worker: by words on the board, and SIGUSR1."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping

from launcher.board.slot import Slot
from launcher.errors import NoTaskLeft
from launcher.serve.debugger import untraced
from launcher.task_shortage import begin
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)


class Wishes:
    """One a worker."""

    def __init__(self, slot: Slot, actions: Mapping[str, Callable[[], object]]) -> None:
        """:param actions: word of the board: what to do when its value has changed."""
        self._slot = slot
        self._actions = actions
        self._done: dict[str, int] = {}  # word -> its last value that was obeyed
        self._refused = False  # the kernel gave no thread
        self._trouble = Recurring()

    def follow(self) -> None:
        """Called in the handler of SIGUSR1. Each action has a thread of its own, and nothing is
        logged here: the code that the signal has interrupted may hold a lock."""
        refused = False
        for word, action in self._actions.items():
            wanted, done = self._slot.get(word), self._done.get(word, 0)
            if wanted != done:
                self._done[word] = wanted  # first: the next signal may interrupt this
                thread = threading.Thread(target=action, name="call-of-the-master", daemon=True)
                if not begin(untraced(thread)):
                    self._done[word] = done
                    refused = True
        self._refused = refused

    def try_again(self) -> None:
        """Called in each round of the worker's loop: an action that got no thread is tried again,
        in the signal's handler."""
        if not self._refused:
            self._trouble.well()
            return
        if self._trouble.failed():
            LOG.error("%s", NoTaskLeft(what="a request of the master waits"))
        os.kill(os.getpid(), signal.SIGUSR1)

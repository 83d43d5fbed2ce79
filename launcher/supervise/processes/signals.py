"""Signals of the master: two threads receive all of them, and call one handler at a time.

In every other thread they are blocked: see `launcher.blocked_signals`.
"""

import logging
import signal
import threading
from collections.abc import Callable, Mapping

from launcher.blocked_signals import TAKEN
from launcher.task_shortage import sentence

LOG = logging.getLogger(__name__)

# Two threads: while one is in a handler, the other waits. cotyledon's stop ignores SIGTERM, which
# discards a pending one (sigaction(2)). That would lose the second SIGTERM, which kills.
LISTENERS = 2

Handler = Callable[[signal.Signals], None]


def start_threads(handlers: Mapping[signal.Signals, Handler]) -> None:
    """Start the threads. A signal without a handler is logged and otherwise ignored."""
    lock = threading.Lock()
    for number in range(LISTENERS):
        args = (handlers, lock)
        threading.Thread(target=_run, args=args, name=f"signals-{number}", daemon=True).start()


def _run(handlers: Mapping[signal.Signals, Handler], lock: threading.Lock) -> None:
    while True:
        number = signal.Signals(signal.sigwait(TAKEN))
        with lock:
            follow(handlers, number)


def follow(handlers: Mapping[signal.Signals, Handler], number: signal.Signals) -> None:
    """Call its handler. Any thread."""
    handler = handlers.get(number)
    if handler is None:
        LOG.info("%s ignored", number.name)
        return
    try:
        handler(number)
    except RuntimeError as error:  # no thread can be started; a stop needs none
        LOG.error("%s", sentence(f"{number.name} cannot be followed", error))

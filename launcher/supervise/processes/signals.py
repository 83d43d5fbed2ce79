"""Signals of the master: two threads receive all of them, and call one handler at a time.

The signals are blocked in every other thread, from before any thread exists. Else a worker that
got one between its fork and its own handlers would write it into the master's wake-up pipe.
Blocked signals stay blocked after the fork; the worker unblocks those it wants.
"""

import logging
import signal
import threading
from collections.abc import Callable, Mapping

LOG = logging.getLogger(__name__)

# Two threads: while one is in a handler, the other waits. cotyledon's stop ignores SIGTERM, which
# discards a pending one (sigaction(2)). That would lose the second SIGTERM, which kills.
LISTENERS = 2

TAKEN = frozenset(
    {
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGTTIN,
        signal.SIGTTOU,
    }
)

Handler = Callable[[signal.Signals], None]


def block() -> None:
    """Called first in the program, in the main thread, before any other thread exists."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)


def unblock() -> None:
    """Called in a client command: pending signals are delivered here."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)


def start_threads(handlers: Mapping[signal.Signals, Handler]) -> None:
    """Start the threads. A signal without a handler is logged and otherwise ignored."""
    lock = threading.Lock()
    for number in range(LISTENERS):
        args = (handlers, lock)
        threading.Thread(target=_run, args=args, name=f"signals-{number}", daemon=True).start()


def _run(handlers: Mapping[signal.Signals, Handler], lock: threading.Lock) -> None:
    while True:
        number = signal.Signals(signal.sigwait(TAKEN))
        handler = handlers.get(number)
        if handler is None:
            LOG.info("%s ignored", number.name)
            continue
        try:
            with lock:
                handler(number)
        except RuntimeError as error:  # no thread can be started; a stop needs none
            LOG.error("%s cannot be followed: %s", number.name, error)

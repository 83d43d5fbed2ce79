"""The signals of the master: one thread takes them all and calls what the table says.

They are blocked in every other thread, and before any thread exists: a signal that reached a
worker between its fork and its own handlers would be written into the master's wake-up pipe.
Blocked signals survive the fork; the worker unblocks what it wants.
"""

import logging
import signal
import threading
from collections.abc import Callable, Mapping

LOG = logging.getLogger(__name__)

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
    """Called first thing in the program, in the main thread, before there is another one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)


def unblock() -> None:
    """Called in a client command: what came meanwhile is delivered here."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)


def take(handlers: Mapping[signal.Signals, Handler]) -> threading.Thread:
    """Start the thread; signals without a handler are logged and otherwise ignored."""
    thread = threading.Thread(target=_run, args=(handlers,), name="signals", daemon=True)
    thread.start()
    return thread


def _run(handlers: Mapping[signal.Signals, Handler]) -> None:
    while True:
        number = signal.Signals(signal.sigwait(TAKEN))
        handler = handlers.get(number)
        if handler is None:
            LOG.info("%s ignored", number.name)
            continue
        try:
            handler(number)
        except RuntimeError as error:  # the kernel has no thread to give; a stop needs none
            LOG.error("%s cannot be followed: %s", number.name, error)

"""The signals of the master: two threads take them all, and call what the table says in turn.

They are blocked in every other thread, and before any thread exists: a signal that reached a
worker between its fork and its own handlers would be written into the master's wake-up pipe.
Blocked signals survive the fork; the worker unblocks what it wants.
"""

import logging
import signal
import threading
from collections.abc import Callable, Mapping

LOG = logging.getLogger(__name__)

# While one of them is on its way to a handler the other waits: cotyledon's stop has SIGTERM
# ignored, and that discards one which nobody has taken (sigaction(2)): the second, which kills.
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
    """Called first thing in the program, in the main thread, before there is another one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)


def unblock() -> None:
    """Called in a client command: what came meanwhile is delivered here."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)


def take(handlers: Mapping[signal.Signals, Handler]) -> None:
    """Start the threads; signals without a handler are logged and otherwise ignored."""
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
        except RuntimeError as error:  # the kernel has no thread to give; a stop needs none
            LOG.error("%s cannot be followed: %s", number.name, error)

"""The signals that the master takes: blocked before any thread exists, and after each fork.

Else a worker that got one between its fork and its own handlers would write it into the master's
wake-up pipe. A worker unblocks those that it wants.
"""

import signal

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


def block() -> None:
    """Called first in the program, in the main thread, before any other thread exists."""
    signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)


def unblock() -> None:
    """Called in a client command and in a worker: pending signals are delivered here."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, TAKEN)

"""pdb attaches to a worker, from Python 3.14 on: `python -m pdb -p PID`. See sys.remote_exec.

The interpreter runs pdb's code in the main thread, between two instructions or when a signal has
interrupted a wait. The main thread of a worker only waits for signals of the master, so it gets
some each second while the debugger is open.

Where pdb waits for a command, the main thread stands still, and nobody drains the worker. So a
signal after the end has pdb leave: an EOFError there is to it as a client that has gone.

Before that, pdb looks for the main thread in the memory of the process. The interpreter has none
noted after a fork by another thread, such as cotyledon's. So it is noted anew.

This module has all private names of pdb, and of the interpreter for that.
"""

import ctypes
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import FrameType

LOG = logging.getLogger(__name__)

CALL = signal.SIGUSR1
WAKE_SECONDS = 0.2  # shorter than it takes to close and open it again
WAIT = "pdb", "_read_reply"  # module and function in which pdb waits for a command
NOTE_MAIN = "_PyInterpreterState_SetRunningMain"  # pystate.c


def attaches() -> bool:
    """Whether pdb attaches to processes of this interpreter. It may be switched off, as by
    PYTHON_DISABLE_REMOTE_DEBUG."""
    enabled = getattr(sys, "is_remote_debug_enabled", bool)()
    return bool(enabled and hasattr(ctypes.pythonapi, NOTE_MAIN))


class RemotePdb:
    """One a worker. One thread at a time calls `let_in` and `close`."""

    def __init__(self, start: Callable[[str, Callable[[], object]], object]) -> None:
        """:param start: starts a thread with this name."""
        self._start = start
        # A new one each time; None: closed. No Event: a signal handler may interrupt another one
        # in `close`, and would wait for the lock that the other one has.
        self._opening: object = None
        self._is_found = False

    def be_found(self) -> None:
        """Called in the main thread, before pdb may attach."""
        if self._is_found or not attaches():
            return
        self._is_found = True
        current, note = (
            ctypes.pythonapi.PyInterpreterState_Get,
            getattr(ctypes.pythonapi, NOTE_MAIN),
        )
        current.restype, note.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        try:
            note(current())
        except Exception as error:  # noqa: BLE001  # the interpreter has one of its own for that
            LOG.warning("pdb may not find the main thread: %s", error)

    def let_in(self) -> None:
        """Have clients let in until `close`."""
        if attaches() and self._opening is None:
            self._opening = object()
            self._start("pdb-wakes", partial(self._wake, self._opening))

    def close(self) -> None:
        """Have pdb leave, within some seconds. It takes no lock: for signal handlers, too."""
        self._opening = None

    def on_signal(self, frame: FrameType | None) -> None:
        """Called in each signal handler, at its end.

        :param frame: what the signal has interrupted.
        :raises EOFError: pdb waits for a command there, and is to leave.
        """
        if self._opening is None and _waits(frame):
            raise EOFError

    def _wake(self, opening: object) -> None:
        main = threading.main_thread().ident
        assert main is not None

        def is_there() -> bool:
            return _waits(sys._current_frames().get(main))  # documented, despite its name

        while self._opening is opening:
            if not is_there():
                signal.pthread_kill(main, CALL)
            time.sleep(WAKE_SECONDS)
        while self._opening is None and is_there():
            signal.pthread_kill(main, CALL)
            time.sleep(WAKE_SECONDS)


def _waits(frame: FrameType | None) -> bool:
    while frame is not None:
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) == WAIT:
            return True
        frame = frame.f_back
    return False

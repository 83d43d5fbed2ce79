"""The thread of a program's `main()`, in a worker.

`main()` never goes on behind the place where it waits for its services: they need what it would
clean up there (`finally`, `with`). So it has a thread, which stays there. It must not notice that
this is not the main thread: functions that only that one may call have no effect in it. Signals
are the launcher's in any case.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ClassVar, NoReturn

NAME = "program-main"


def allow_signals() -> None:
    """Let this thread call `signal.signal` and the like. Called once in the master, before the
    program is imported: it may keep the functions."""
    _replace("signal", lambda number, handler: signal.getsignal(number))
    _replace("set_wakeup_fd", lambda descriptor, **options: -1)
    _replace("siginterrupt", lambda number, flag: None)
    # Their signal has no handler then, and would end the worker.
    _replace("alarm", lambda seconds: 0)
    _replace("setitimer", lambda which, seconds, interval=0.0: (0.0, 0.0))


def _replace(name: str, otherwise: Callable[..., object]) -> None:
    real: Any = getattr(signal, name)

    @wraps(real)
    def function(*args: Any, **options: Any) -> Any:
        ours = threading.get_ident() == MainThread.identifier
        return (otherwise if ours else real)(*args, **options)

    setattr(signal, name, function)


class MainThread:
    """Runs a `main()`, up to its end or to where it stays.

    :cvar identifier: of the thread, if there is one in this process.
    :ivar stays: whether it waits for its services.
    """

    identifier: ClassVar[int | None] = None

    def __init__(self, main: Callable[[], object]) -> None:
        self.stays = False
        self._main = main
        self._over = threading.Event()
        self._raised: BaseException | None = None

    @classmethod
    @contextmanager
    def here(cls) -> Iterator[None]:
        """Within this context, this thread is taken for the main thread, when `main()` is over."""
        cls.identifier = threading.get_ident()
        try:
            yield
        finally:
            cls.identifier = None

    def run(self) -> None:
        """Called in the worker's main thread. Raises what `main()` raises."""
        threading.Thread(target=self._run, name=NAME, daemon=True).start()
        self._over.wait()
        if self._raised is not None:
            raise self._raised

    def _run(self) -> None:
        try:
            with self.here():
                self._main()
        except BaseException as error:  # noqa: BLE001  # raised again by `run`
            self._raised = error
        finally:
            self._over.set()

    def stay(self) -> NoReturn:
        """Called where the program would wait for its services, in whichever thread that is."""
        self.stays = True
        self._over.set()
        while True:
            threading.Event().wait()

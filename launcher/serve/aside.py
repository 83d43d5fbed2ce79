"""Work beside a thread that must not wait for it, or not for ever. If the kernel gives no thread,
that thread does the work itself."""

import logging
import threading
from collections.abc import Callable
from types import FrameType

from launcher.errors import NoTaskLeft
from launcher.exception_text import reason
from launcher.serve.debugger import untraced
from launcher.task_shortage import begin

LOG = logging.getLogger(__name__)

IDLE_IN = "cotyledon"  # whose code the main thread of a worker waits in, with no lock held


def run_within(seconds: float | None, work: Callable[[], object], name: str) -> bool:
    """Run `work` in a new thread, and wait. Without a thread, run it here, however long it takes.

    :param seconds: to wait; None: no limit. :param name: of the thread.
    :returns: whether it has ended.
    """
    thread = threading.Thread(target=work, name=name, daemon=True)
    if not begin(thread):
        work()
        return True
    thread.join(seconds)
    return not thread.is_alive()


def begin_in_handler(work: Callable[[], object], name: str, frame: FrameType | None) -> bool:
    """Called in a signal handler: run `work` in a new thread, since the code that the signal has
    interrupted may hold a lock. Without a thread, run it here if that code only waits.

    :param frame: of the interrupted code.
    :returns: whether it was begun; else it has to be tried again at the next signal.
    """
    if not begin(untraced(threading.Thread(target=work, name=name, daemon=True))):
        module = str(frame.f_globals.get("__name__")) if frame else ""
        if module.partition(".")[0] != IDLE_IN:
            LOG.error("%s", NoTaskLeft(what="a request of the master waits"))
            return False
        _run_here(work)
    return True


def _run_here(work: Callable[[], object]) -> None:
    try:
        work()
    except Exception as error:  # noqa: BLE001  # in a thread it would end that alone
        LOG.error("a request of the master failed: %s", reason(error))

"""The heap of the master, as workers share it: a page is copied only when an object in it changes.

A forked process shares the pages of its parent until one of them writes to a page. Two parts of
CPython write to objects that nobody changes. The garbage collector marks what it looks at:
`gc.freeze` has it look at none of these. And a reference that comes or goes is counted in the
object, but from Python 3.12 on not in an immortal one: `_immortal.c` makes them so.
"""

import gc
import logging
import sys
import sysconfig
import time

LOG = logging.getLogger(__name__)

FIRST, LAST = (3, 12), (3, 14)  # the Pythons that _immortal.c knows
NOT_BUILT = "the module in C that does it was not built: no compiler, or no headers of Python"


class SharedHeap:
    """One in the master.

    :ivar immortal: how many objects were made immortal; 0: none is.
    """

    def __init__(self) -> None:
        self.immortal = 0

    def share(self, *, immortal: bool) -> None:
        """Called in the master, once, right before the first fork and with no other thread alive.

        Nothing that exists now is freed later, by the master or by a worker: no finalizer of it
        runs, no weak reference to it ends. See `_immortal.c` for what stays as it is. The
        collector has to be off until here, and is on afterwards. There is no collection before:
        that would leave holes for new objects in the pages (see gc.freeze in Python's manual).

        :param immortal: whether to make the objects immortal, if this Python can.
        """
        reason = why_not() if immortal else "[supervision] immortal_objects is false"
        if reason:
            level = logging.INFO if reason == NOT_BUILT else logging.DEBUG  # INFO: to be mended
            LOG.log(level, "workers copy more of the master's memory than they could: %s", reason)
        else:
            self._make_immortal()
        gc.freeze()
        gc.enable()

    def _make_immortal(self) -> None:
        from launcher.supervise.processes import _immortal  # noqa: PLC0415  # may be absent

        began = time.monotonic()
        self.immortal = _immortal.make_all_immortal()
        milliseconds = 1000 * (time.monotonic() - began)
        LOG.debug("%d objects made immortal in %.0f ms", self.immortal, milliseconds)


def why_not() -> str:
    """Why objects cannot be made immortal here; an empty string if they can."""
    if not FIRST <= sys.version_info[:2] <= LAST:
        return f"objects can be made immortal on Python 3.12 to 3.14, and this is {_version()}"
    if sysconfig.get_config_var("Py_GIL_DISABLED") or sysconfig.get_config_var("Py_DEBUG"):
        return "a free-threaded Python, or a debug build, counts references in another way"
    try:
        from launcher.supervise.processes import _immortal  # noqa: F401, PLC0415  # may be absent
    except ImportError:
        return NOT_BUILT
    return ""


def _version() -> str:
    return "{}.{}".format(*sys.version_info[:2])

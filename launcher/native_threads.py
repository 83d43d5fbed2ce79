"""Keeps eventlet out of the process: this program uses native threads only.

oslo.messaging imports oslo.service and futurist. Both import eventlet if it is installed, and
eventlet imports dnspython. That would cost each start 0.3 s and 20 MB.

Some foreign programs import it, though they run on native threads. For these it can be admitted.
"""

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NoReturn

PATCHES = "eventlet.monkey_patch"  # the name of the error that refuses it
# Marks the module. Its monkey_patch tells nothing: programs on native threads replace that, too.
ADMITTED = "_admitted_by_the_launcher"


class _NoEventlet:
    """A finder of sys.meta_path that makes every import of eventlet fail. `None` in sys.modules
    would do that too, but programs look there to find out whether it has been imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname.partition(".")[0] == "eventlet":
            raise ModuleNotFoundError("eventlet is kept out: native threads only", name=fullname)
        return None


def forbid_eventlet() -> None:
    """Call before the first import of an oslo library. Nothing happens if it was admitted.

    :raises RuntimeError: it is too late.
    """
    if (found := sys.modules.get("eventlet")) is not None:  # None: somebody else keeps it out
        if getattr(found, ADMITTED, False):
            return
        raise RuntimeError("eventlet is imported already")
    if not any(isinstance(finder, _NoEventlet) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoEventlet())


def admit_eventlet() -> None:
    """Call after `require`: eventlet can be imported, but patches nothing. Else no thread would be
    a native one.

    :raises ImportError: it is not installed.
    """
    sys.meta_path[:] = [one for one in sys.meta_path if not isinstance(one, _NoEventlet)]
    with warnings.catch_warnings(action="ignore"):  # its advice to authors, at length
        eventlet: Any = importlib.import_module("eventlet")
    eventlet.monkey_patch = eventlet.patcher.monkey_patch = _refuse
    setattr(eventlet, ADMITTED, True)


def _refuse(*_: object, **__: object) -> NoReturn:
    raise ImportError("eventlet may patch nothing: native threads only", name=PATCHES)


def require() -> None:
    """Call before the first import of oslo.messaging. :raises RuntimeError: it is too late."""
    forbid_eventlet()
    from oslo_service import backend  # noqa: PLC0415  # imports eventlet

    backend.init_backend(backend.BackendType.THREADING)

"""Keeps eventlet out of the process: this program uses native threads only.

oslo.messaging imports oslo.service and futurist. Both import eventlet if it is installed, and
eventlet imports dnspython. That would cost each start 0.3 s and 20 MB.
"""

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


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
    """Call before the first import of an oslo library. :raises RuntimeError: it is too late."""
    if sys.modules.get("eventlet") is not None:  # None: somebody else keeps it out
        raise RuntimeError("eventlet is imported already")
    if not any(isinstance(finder, _NoEventlet) for finder in sys.meta_path):
        sys.meta_path.insert(0, _NoEventlet())


def require() -> None:
    """Call before the first import of oslo.messaging. :raises RuntimeError: it is too late."""
    forbid_eventlet()
    from oslo_service import backend  # noqa: PLC0415  # imports eventlet

    backend.init_backend(backend.BackendType.THREADING)

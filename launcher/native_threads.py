"""Keeps eventlet out of the process: this program uses native threads only.

oslo.messaging imports oslo.service and futurist. Both import eventlet if it is installed, and
eventlet imports dnspython. That would cost each start 0.3 s and 20 MB.
"""

import sys


def forbid_eventlet() -> None:
    """Call before the first import of an oslo library. :raises RuntimeError: it is too late."""
    if sys.modules.get("eventlet") is not None:
        raise RuntimeError("eventlet is imported already")
    sys.modules["eventlet"] = None  # type: ignore[assignment]  # makes every import of it fail


def require() -> None:
    """Call before the first import of oslo.messaging. :raises RuntimeError: it is too late."""
    forbid_eventlet()
    from oslo_service import backend  # noqa: PLC0415  # imports eventlet

    backend.init_backend(backend.BackendType.THREADING)

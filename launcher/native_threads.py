"""Keeps eventlet out of the process: this program runs on native threads only.

oslo.messaging imports oslo.service and futurist, and both import eventlet where it is installed
(and eventlet dnspython): 0.3 s and 20 MB of every start for something never used.
"""

import sys


def require() -> None:
    """Call before the first import of an oslo library; raises RuntimeError when it is too late."""
    if sys.modules.get("eventlet") is not None:
        raise RuntimeError("eventlet is imported already")
    sys.modules["eventlet"] = None  # type: ignore[assignment]  # "not installed" to any import
    from oslo_service import backend  # noqa: PLC0415  # after the line above, or it is too late

    backend.init_backend(backend.BackendType.THREADING)

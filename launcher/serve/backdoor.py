"""The debug console of a worker: manhole, which asks the kernel who connects and lets in only
root and the user of the service. Off by default."""

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

LOG = logging.getLogger(__name__)


def open_backdoor(runtime_path: str, slot: int, names: dict[str, Any]) -> str:
    """Called in a worker: a Python console on a unix socket, whose path is returned. One thread,
    which waits for connections; `names` are what a visitor finds defined."""
    import manhole  # noqa: PLC0415  # not needed while the backdoor is off

    path = Path(runtime_path, f"backdoor.{slot}")
    with suppress(FileNotFoundError):  # of a worker before us that was killed
        path.unlink()
    manhole.install(
        verbose=False,
        patch_fork=False,
        socket_path=str(path),
        daemon_connection=True,
        locals=names,
    )
    LOG.warning("backdoor open at %s: whoever may connect can do anything", path)
    return str(path)

"""A command that systemd runs as ExecReload=, and what a stop of the unit meanwhile means for it.

Then systemd sends SIGTERM to the master first, and to the command next. If the command failed,
systemd would call the unit failed.
"""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

from launcher.errors import (
    ExitStatus,
    NotAnswering,
    NotRunning,
    ReloadFailed,
    ServiceStopping,
    UpgradeFailed,
)

SYSTEMD_SECONDS = 2.0  # within which systemd's SIGTERM follows the one to the master


@contextmanager
def ending_with_the_unit() -> Iterator[None]:
    """End with status 0 when systemd has started this command and stops the unit meanwhile. Called
    in the main thread."""
    by_systemd = os.environ.get("SYSTEMD_EXEC_PID") == str(os.getpid())  # systemd.exec(5)
    if by_systemd:
        import signal  # noqa: PLC0415  # for this alone

        signal.signal(signal.SIGTERM, _end)
    try:
        yield
    except (NotRunning, NotAnswering, ReloadFailed, UpgradeFailed) as error:
        answered = isinstance(error, (ReloadFailed, UpgradeFailed))
        if by_systemd and (not answered or str(ServiceStopping()) in str(error)):
            time.sleep(SYSTEMD_SECONDS)  # the unit is stopped: wait for our own SIGTERM
        raise


def _end(number: int, _: object) -> NoReturn:
    """Handle SIGTERM."""
    os.write(2, b"the reload ends, since the unit is stopped\n")
    os._exit(ExitStatus.STOPPED)

"""The file of `[health] touch_file`: its time says that the master's rounds go on."""

import logging
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from launcher.errors import OptionError
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)

TOUCH_SECONDS = 1.0


class TouchFile:
    """One a master. `renew` is called in the monitor's thread."""

    def __init__(self, path: str | None) -> None:
        """Called in the master, before the first fork: touch the file. None: there is none.

        :raises OptionError: it cannot be touched, or is no file.
        """
        self._path = path
        self._touched_at = 0.0  # monotonic seconds
        self._trouble = Recurring()
        if path is None:
            return
        try:
            _touch(path)
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise OptionError(option="[health] touch_file", problem=f"{path} is no file")
        except OSError as error:
            problem = f"{path} cannot be touched: {error.strerror}"
            raise OptionError(option="[health] touch_file", problem=problem) from error

    def renew(self, now: float, lives: Callable[[], bool]) -> None:
        """Set the time of the file, once a second. Create it again if it was removed.

        :param now: monotonic seconds. :param lives: whether the master does, as /livez says.
        """
        if self._path is None or now - self._touched_at < TOUCH_SECONDS or not lives():
            return
        self._touched_at = now
        try:
            _touch(self._path)
        except OSError as error:
            if self._trouble.failed():
                LOG.error("%s cannot be touched: %s", self._path, error.strerror)
        else:
            if self._trouble.well():
                LOG.info("%s can be touched again", self._path)


def _touch(path: str) -> None:
    """Follow no link. No descriptor stays open, and mostly none is opened: a worker that is forked
    meanwhile would have it."""
    with suppress(FileNotFoundError):
        os.utime(path, follow_symlinks=False)
        return
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))

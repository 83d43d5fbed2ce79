"""The terminal that the master was started from, if any."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STDIN = 0


@contextmanager
def own_process_group() -> Iterator[None]:
    """Around the master's run: lead a process group of our own, in the foreground of the terminal.

    cotyledon calls setsid(), which would cut us off the terminal, so that Ctrl-C reached nobody;
    it fails, harmlessly, for the leader of a group. Needs SIGTTOU blocked, as `signals.block`
    does: a background process that sets the foreground group gets it.
    """
    before = _foreground_group()
    ours = before is not None and before == os.getpgrp()
    with suppress(PermissionError):  # a session leader leads its group already
        os.setpgid(0, 0)
    if before is None or not ours:
        yield
        return
    os.tcsetpgrp(STDIN, os.getpgrp())
    try:
        yield
    finally:
        with suppress(OSError):  # the terminal or the group is gone
            os.tcsetpgrp(STDIN, before)


def _foreground_group() -> int | None:
    try:
        return os.tcgetpgrp(STDIN)
    except OSError:  # stdin is no terminal, or not ours
        return None

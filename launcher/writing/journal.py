"""Whether a stream leads to the journal, and what makes a line an error in it."""

import os

STDERR = 2
ERROR_PREFIX = "<3>"  # sd-daemon(3)


def is_journal(descriptor: int, journal_stream: str | None) -> bool:
    """Whether a descriptor leads to the journal: systemd.exec(5), $JOURNAL_STREAM."""
    if not journal_stream:
        return False
    try:
        status = os.fstat(descriptor)
    except OSError:  # it is closed
        return False
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def error_prefix() -> str:
    """The prefix that makes a line an error in the journal; empty if stderr leads elsewhere."""
    return ERROR_PREFIX if is_journal(STDERR, os.environ.get("JOURNAL_STREAM")) else ""

"""Handlers and formatters of log records: each record is one write to stderr.

A buffered stream is not safe beside forks: a child that is forked during a write deadlocks, or the
line appears twice. So each record is one os.write(2) of an `Outlet`. A record may contain text of
other programs, so that `foreign_text` makes it fit for a log.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from oslo_log.formatters import JSONFormatter

from launcher.exception_text import reason
from launcher.foreign_text import fit, fit_block, fit_json, fit_record
from launcher.writing.outlet import ERRORS, lost_lines

PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}  # sd-daemon(3)
COLOURS = {"CRITICAL": "\x1b[1;31m", "ERROR": "\x1b[31m", "WARNING": "\x1b[33m"}


class Actor(logging.Filter):
    """Names the process in every record, `master ` or `worker=1 pid=4242 `. Adds the fields that
    oslo.log's journal handler sends."""

    text: ClassVar[str] = ""
    fields: ClassVar[Callable[[], dict[str, str]]] = dict

    def filter(self, record: logging.LogRecord) -> bool:
        record.actor = Actor.text
        record.__dict__.update(Actor.fields())
        return True


def coloured(level: str, text: str) -> str:
    """Return the text in the colour of a level's name, if it has one."""
    colour = COLOURS.get(level)
    return f"{colour}{text}\x1b[0m" if colour else text


class LineHandler(logging.Handler):
    """Writes each record to stderr by one system call; safe on both sides of a fork."""

    _ended = False

    def end(self) -> None:
        """Write nothing from now on. A record that is being written is waited for."""
        self.acquire()
        self._ended = True
        self.release()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. logging.Handler calls this, and holds its lock meanwhile."""
        if self._ended:
            return
        try:
            text = self.decorate(record, self.format(record))
        except Exception:  # noqa: BLE001  # as logging.Handler: a wrong log call must not raise
            self.handleError(record)
            return
        ERRORS.write(_encode(text), self._notice)

    def _notice(self, count: int) -> bytes:
        """The line that tells the number of lost lines."""
        record = logging.LogRecord(
            __name__, logging.WARNING, __file__, 0, lost_lines(count), (), None
        )
        self.filter(record)  # names the process
        return _encode(self.decorate(record, self.format(record)))

    def handleError(self, record: logging.LogRecord) -> None:
        """Write what can be told of a wrong log call."""
        message = record.msg if isinstance(record.msg, str) else type(record.msg).__name__
        why = reason(sys.exc_info()[1] or ValueError())
        ERRORS.write(_encode(fit(f"{record.name}: this line cannot be made ({why}): {message}")))

    def decorate(self, record: logging.LogRecord, text: str) -> str:
        """The text to write; overridden for terminals and the journal."""
        return text


class TerminalHandler(LineHandler):
    """Colours warnings and errors."""

    def decorate(self, record: logging.LogRecord, text: str) -> str:
        return coloured(record.levelname, text)


class JournalHandler(LineHandler):
    """Puts the priority in front of every line: sd-daemon(3)."""

    def decorate(self, record: logging.LogRecord, text: str) -> str:
        prefix = f"<{PRIORITIES.get(record.levelname, 5)}>"
        return "\n".join(prefix + line for line in text.split("\n"))


class FitFormatter(logging.Formatter):
    """Makes the text of another formatter fit for a log: one line, and below it the lines of the
    traceback, each with a mark. JSON stays JSON."""

    def __init__(self, inner: logging.Formatter, fields: Sequence[str] = ()) -> None:
        """:param fields: of the record, which the handler sends beside the text."""
        super().__init__()
        self.inner = inner
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(self.inner, JSONFormatter):
            # The formatter writes these fields; the text formats have the actor in their line.
            given = record.__dict__.get("extra", {})
            record.__dict__["extra"] = {"actor": Actor.text.strip(), **Actor.fields(), **given}
        text = self.inner.format(record)
        if not isinstance(text, str):  # the formatter for fluentd returns a dict
            return text
        more = self._more(record)
        self._make_fit(record)
        if isinstance(self.inner, JSONFormatter):
            return fit_json(text)
        first = text.removesuffix(more).rstrip("\n") if more else text.rstrip("\n")
        return fit_record(_without_repetition(first, record), more)

    def _make_fit(self, record: logging.LogRecord) -> None:
        """Make the parts fit that a handler may send beside the text."""
        for field in self._fields:
            if isinstance(value := record.__dict__.get(field), str):
                record.__dict__[field] = fit(value)
        if record.exc_text:
            record.exc_text = "\n".join(fit_block(record.exc_text))

    def _more(self, record: logging.LogRecord) -> str:
        """The text that logging.Formatter puts below the first line."""
        stack = self.inner.formatStack(record.stack_info) if record.stack_info else ""
        return "\n".join(filter(None, (record.exc_text, stack)))

    def formatException(self, ei: Any) -> str:
        return "\n".join(fit_block(self.inner.formatException(ei)))


def _without_repetition(line: str, record: logging.LogRecord) -> str:
    """oslo.log appends the error that is being handled. A line that has its text loses that."""
    summary = record.__dict__.get("error_summary", "")
    head = line.removesuffix(f": {summary}")
    if record.exc_info or not summary or head == line:
        return line
    told = " ".join((summary.partition(": ")[2] or summary).split()).rstrip(".")
    return head if told in head else line


def _encode(text: str) -> bytes:
    return f"{text}\n".encode("utf-8", "replace")

"""Logging: oslo.log's options and formatter, with lines that survive a fork beside them.

A buffered stream shared with a child that is forked in the middle of a write leaves that child
deadlocked or the line doubled; so each record is one os.write(2) to stderr, of one line.
"""

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import entry_points
from typing import ClassVar

from oslo_config import cfg
from oslo_log import log as oslo_log
from oslo_log.handlers import OSJournalHandler

from launcher import __version__
from launcher.errors import ConfigError

STDERR = 2
PRIORITIES = {"CRITICAL": 2, "ERROR": 3, "WARNING": 4, "INFO": 6, "DEBUG": 7}  # sd-daemon(3)
COLOURS = {"CRITICAL": "\x1b[1;31m", "ERROR": "\x1b[31m", "WARNING": "\x1b[33m"}
TIMED = (
    "logging_default_format_string",
    "logging_context_format_string",
    "logging_exception_prefix",
)
JOURNAL_FIELDS = ("worker_slot", "worker_step")  # in the journal, with use_journal, in capitals
NOISY = {
    "amqp": logging.ERROR,
    "cotyledon": logging.WARNING,
    "oslo.messaging": logging.WARNING,
    "oslo_messaging": logging.WARNING,
    "stevedore": logging.ERROR,
}


class Actor(logging.Filter):
    """Names the process in every record, `master ` or `worker=1 pid=4242 `, and gives a worker's
    records the fields that oslo.log's journal handler hands on."""

    text: ClassVar[str] = ""
    fields: ClassVar[Callable[[], dict[str, str]]] = dict

    def filter(self, record: logging.LogRecord) -> bool:
        record.actor = Actor.text
        record.__dict__.update(Actor.fields())
        return True


class LineHandler(logging.Handler):
    """Writes each record to stderr by one system call; safe on both sides of a fork."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.decorate(record, self.format(record))
        except Exception:  # noqa: BLE001  # as logging.Handler does: a wrong call ends no caller
            self.handleError(record)
            return
        with suppress(OSError):  # nobody reads stderr any more, or its disk is full: go on
            os.write(STDERR, f"{text}\n".encode("utf-8", "replace"))

    def decorate(self, record: logging.LogRecord, text: str) -> str:
        """The text as it is written; overridden for terminals and the journal."""
        return text


class TerminalHandler(LineHandler):
    """Colours warnings and errors."""

    def decorate(self, record: logging.LogRecord, text: str) -> str:
        colour = COLOURS.get(record.levelname)
        return f"{colour}{text}\x1b[0m" if colour else text


class JournalHandler(LineHandler):
    """Prefixes every line with its priority, as sd-daemon(3) describes."""

    def decorate(self, record: logging.LogRecord, text: str) -> str:
        prefix = f"<{PRIORITIES.get(record.levelname, 5)}>"
        return "\n".join(prefix + line for line in text.splitlines())


def setup(conf: cfg.ConfigOpts, binary: str) -> None:
    """Called in the master, before the first fork, and by client commands.

    :raises ConfigError: an option of oslo.log is wrong, or its file cannot be written.
    """
    to_journal = is_journal(STDERR, os.environ.get("JOURNAL_STREAM"))
    if to_journal:
        for option in TIMED:
            _drop_time(conf, option)
    try:
        oslo_log.setup(conf, binary, version=__version__)
    except (oslo_log.LogConfigError, cfg.Error, OSError, ValueError) as error:
        raise ConfigError(problem=f"logging cannot be set up: {error}") from error
    except RuntimeError as error:
        problem = f"use_journal needs the Python package systemd-python ({error})"
        raise ConfigError(problem=problem) from error
    for handler in list(logging.getLogger().handlers):
        _make_ours(handler, to_journal)
    set_level(conf)
    logging.captureWarnings(True)


def set_level(conf: cfg.ConfigOpts) -> None:
    """After a reload: only levels change, since a handler that is missing for a moment would be
    missing for ever in a worker that is forked in it."""
    logging.getLogger().setLevel(logging.DEBUG if conf.debug else logging.INFO)
    for name, level in NOISY.items():
        logging.getLogger(name).setLevel(logging.NOTSET if conf.debug else level)


def fixed_options() -> set[tuple[str, str]]:
    """Section and name of those options of oslo.log that only a start puts in force: all but the
    level, since handlers stay (see `set_level`)."""
    (entry,) = entry_points(group="oslo.config.opts", name="oslo.log")
    names = {opt.dest for _, opts in entry.load()() for opt in opts} - {"debug"}
    return {("DEFAULT", name) for name in names}


def name_actor(text: str, fields: Callable[[], dict[str, str]] = dict) -> None:
    """Say in every line from here on which process speaks. Called once on each side of a fork.

    :param fields: called for each record: those of JOURNAL_FIELDS that are known.
    """
    Actor.text = f"{text} "
    Actor.fields = fields


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
    """What a line needs in front of it to be an error in the journal, when stderr leads there."""
    journal = is_journal(STDERR, os.environ.get("JOURNAL_STREAM"))
    return f"<{PRIORITIES['ERROR']}>" if journal else ""


def _drop_time(conf: cfg.ConfigOpts, option: str) -> None:
    """The journal keeps time and priority itself."""
    text = conf[option].removeprefix("%(asctime)s.%(msecs)03d ")
    conf.set_default(option, text.removeprefix("%(levelname)-7s "))


def _make_ours(handler: logging.Handler, to_journal: bool) -> None:
    root = logging.getLogger()
    if isinstance(handler, OSJournalHandler):
        wanted = (*handler.custom_fields, *JOURNAL_FIELDS)
        handler.custom_fields = wanted  # type: ignore[assignment]  # a tuple of five, it says
    if getattr(handler, "stream", None) in (sys.stdout, sys.stderr):
        root.removeHandler(handler)
        handler = _replacement(handler.formatter, to_journal)
        root.addHandler(handler)
    handler.addFilter(Actor())


def _replacement(formatter: logging.Formatter | None, to_journal: bool) -> LineHandler:
    kind = LineHandler
    if to_journal:
        kind = JournalHandler
    elif os.isatty(STDERR):
        kind = TerminalHandler
    handler = kind()
    handler.setFormatter(formatter)
    return handler

"""Setting logging up: oslo.log's options and formatters, with our handlers for stderr."""

import logging
import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points

from oslo_config import cfg
from oslo_log import log as oslo_log
from oslo_log.handlers import OSJournalHandler

from launcher import __version__
from launcher.errors import ConfigError
from launcher.writing.journal import is_journal
from launcher.writing.log_handlers import (
    Actor,
    FitFormatter,
    JournalHandler,
    LineHandler,
    TerminalHandler,
)
from launcher.writing.outlet import STDERR

TIMED = (
    "logging_default_format_string",
    "logging_context_format_string",
    "logging_exception_prefix",
)
JOURNAL_FIELDS = ("worker_slot", "worker_step")  # with use_journal; the journal has capitals
NOISY = {
    "alembic": logging.WARNING,
    "amqp": logging.ERROR,
    "cotyledon": logging.WARNING,
    "oslo.messaging": logging.WARNING,
    "oslo_messaging": logging.WARNING,
    "stevedore": logging.ERROR,
}


def setup(conf: cfg.ConfigOpts, binary: str, *, plain: bool = False) -> None:
    """Set logging up. Called in the master, before the first fork, and by client commands.

    :param plain: no time before each line of a traceback, as on a terminal.
    :raises ConfigError: an option of oslo.log is wrong, or its file cannot be written.
    """
    to_journal = is_journal(STDERR, os.environ.get("JOURNAL_STREAM"))
    if to_journal:
        for option in TIMED:
            _drop_time(conf, option)
    if plain or (os.isatty(STDERR) and not (to_journal or conf.log_file or conf.log_dir)):
        # On a terminal the lines of a traceback stand below their record, and are marked.
        conf.set_default("logging_exception_prefix", "")
    try:
        oslo_log.setup(conf, binary, version=__version__)
    except (oslo_log.LogConfigError, cfg.Error, OSError, ValueError) as error:
        raise ConfigError(problem=f"logging cannot be set up: {error}") from error
    except RuntimeError as error:
        problem = f"use_journal needs the Python package systemd-python ({error})"
        raise ConfigError(problem=problem) from error
    for handler in list(logging.getLogger().handlers):
        _make_ours(handler, to_journal)
    for handler in _handlers():
        _make_fit(handler)
    set_level(conf)
    logging.captureWarnings(True)


def keep_to_stderr(conf: cfg.ConfigOpts) -> None:
    """Let `setup` write no log to files, the journal or syslog. Called before it."""
    for option in ("log_config_append", "log_file", "log_dir"):
        conf.set_override(option, None)
    for option in ("use_journal", "use_syslog"):
        conf.set_override(option, False)


def set_level(conf: cfg.ConfigOpts) -> None:
    """Set the levels; also called after a reload. Handlers stay: a worker that is forked while one
    is missing would never have it."""
    logging.getLogger().setLevel(logging.DEBUG if conf.debug else logging.INFO)
    for name, level in NOISY.items():
        logging.getLogger(name).setLevel(logging.NOTSET if conf.debug else level)


def end() -> None:
    """Write no more records to stderr: what is printed next is the last line. Threads of a bus
    driver go on, and log, until the process ends."""
    for handler in _handlers():
        if isinstance(handler, LineHandler):
            handler.end()


def fixed_options() -> set[tuple[str, str]]:
    """Section and name of the options of oslo.log that a reload does not put in force: all but
    `debug`, since handlers stay (see `set_level`)."""
    (entry,) = entry_points(group="oslo.config.opts", name="oslo.log")
    names = {opt.dest for _, opts in entry.load()() for opt in opts} - {"debug"}
    return {("DEFAULT", name) for name in names}


def name_actor(text: str, fields: Callable[[], dict[str, str]] = dict) -> None:
    """Name this process in every line from now on. Called once on each side of a fork.

    :param fields: called for each record; returns the known ones of JOURNAL_FIELDS.
    """
    Actor.text = f"{text} "
    Actor.fields = fields


def rename_actor(text: str) -> None:
    """Name a worker anew, which has another slot. Any thread."""
    Actor.text = f"{text} "


def has_colours() -> bool:
    """Whether stderr gets colours: it is a terminal, and $NO_COLOR is not set (no-color.org)."""
    return os.isatty(STDERR) and not os.environ.get("NO_COLOR")


def _drop_time(conf: cfg.ConfigOpts, option: str) -> None:
    """Take time and level out of a format: the journal has them itself."""
    text = conf[option].removeprefix("%(asctime)s.%(msecs)03d ")
    conf.set_default(option, text.removeprefix("%(levelname)-7s "))


def _make_ours(handler: logging.Handler, to_journal: bool) -> None:
    root = logging.getLogger()
    if isinstance(handler, OSJournalHandler):
        wanted = (*handler.custom_fields, *JOURNAL_FIELDS)
        handler.custom_fields = wanted  # type: ignore[assignment]  # declared as a tuple of five
    if getattr(handler, "stream", None) in (sys.stdout, sys.stderr):
        root.removeHandler(handler)
        handler = _replacement(handler.formatter, to_journal)
        root.addHandler(handler)
    handler.addFilter(Actor())


def _handlers() -> Iterator[logging.Handler]:
    """The handlers of all loggers: a file of log_config_append can give some to any logger."""
    yield from logging.getLogger().handlers
    for logger in list(logging.Logger.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield from logger.handlers


def _make_fit(handler: logging.Handler) -> None:
    inner = handler.formatter or logging.Formatter()
    if not isinstance(inner, FitFormatter):
        handler.setFormatter(FitFormatter(inner, getattr(handler, "custom_fields", ())))


def _replacement(formatter: logging.Formatter | None, to_journal: bool) -> LineHandler:
    kind = LineHandler
    if to_journal:
        kind = JournalHandler
    elif has_colours():
        kind = TerminalHandler
    handler = kind()
    handler.setFormatter(formatter)
    return handler

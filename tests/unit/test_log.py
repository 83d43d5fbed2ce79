"""The log: one system call a record, colours on a terminal, priorities for the journal."""

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from oslo_config import cfg

from launcher.config import loader
from launcher.errors import ConfigError
from launcher.exception_text import one_line
from launcher.writing import journal, log, log_handlers
from launcher.writing.log_handlers import JournalHandler, LineHandler, TerminalHandler

RECORD = logging.LogRecord("launcher.x", logging.WARNING, __file__, 1, "worker %d", (1,), None)


@pytest.fixture(autouse=True)
def _logging_restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back the settings that oslo.log changes for the whole process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    levels = {name: logging.getLogger(name).level for name in log.NOISY}
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(log_handlers.Actor, "text", "")
    monkeypatch.setattr(log_handlers.Actor, "fields", dict)
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    with warnings.catch_warnings():
        yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cfg.ConfigOpts:
    monkeypatch.setenv("HOME", str(tmp_path))
    conf = cfg.ConfigOpts()
    loader.register(conf)
    conf([], project="compute-launcher", default_config_files=[], default_config_dirs=[])
    return conf


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Collects what is written to descriptor 2, and writes nothing."""
    calls: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        assert descriptor == 2
        calls.append(data)
        return len(data)

    monkeypatch.setattr(os, "write", write)
    return calls


def fail() -> None:
    raise ValueError("first\nsecond")


def with_traceback(handler: logging.Handler) -> None:
    logger = logging.Logger("launcher.x")
    logger.addHandler(handler)
    try:
        fail()
    except ValueError:
        logger.exception("no luck")


def test_a_record_is_one_write_however_many_lines_it_has(written: list[bytes]) -> None:
    LineHandler().handle(RECORD)
    with_traceback(LineHandler())

    assert len(written) == 2
    assert written[0] == b"worker 1\n"
    assert written[1].count(b"\n") > 3
    assert written[1].endswith(b"\n")


def test_text_that_is_no_utf_8_is_written_all_the_same(written: list[bytes]) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 1, "größe \udcff 四", (), None)

    LineHandler().handle(record)

    assert written == ["größe ? 四\n".encode()]


def test_a_wrong_log_call_does_not_end_its_caller(
    written: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[logging.LogRecord] = []
    monkeypatch.setattr(LineHandler, "handleError", lambda self, record: said.append(record))
    record = logging.LogRecord("x", logging.INFO, "", 1, "%d", ("no number",), None)

    LineHandler().handle(record)

    assert (written, said) == ([], [record])


def test_a_closed_stderr_raises_nothing() -> None:
    saved = os.dup(2)
    os.close(2)
    try:
        LineHandler().handle(RECORD)
        assert not journal.is_journal(2, "1:2")
    finally:
        os.dup2(saved, 2)
        os.close(saved)


@pytest.mark.parametrize(
    ("level", "text"),
    [
        (logging.INFO, b"x\n"),
        (logging.WARNING, b"\x1b[33mx\x1b[0m\n"),
        (logging.ERROR, b"\x1b[31mx\x1b[0m\n"),
        (logging.CRITICAL, b"\x1b[1;31mx\x1b[0m\n"),
    ],
)
def test_colours_are_for_what_matters(written: list[bytes], level: int, text: bytes) -> None:
    TerminalHandler().handle(logging.LogRecord("x", level, "", 1, "x", (), None))

    assert written == [text]


@pytest.mark.parametrize(
    ("level", "prefix"),
    [
        (logging.DEBUG, b"<7>"),
        (logging.INFO, b"<6>"),
        (logging.WARNING, b"<4>"),
        (logging.ERROR, b"<3>"),
        (logging.CRITICAL, b"<2>"),
        (logging.INFO + 1, b"<5>"),
    ],
)
def test_the_journal_gets_a_priority(written: list[bytes], level: int, prefix: bytes) -> None:
    JournalHandler().handle(logging.LogRecord("x", level, "", 1, "x", (), None))

    assert written == [prefix + b"x\n"]


def test_every_line_of_a_traceback_has_its_priority(written: list[bytes]) -> None:
    with_traceback(JournalHandler())

    lines = written[0].splitlines()
    assert len(lines) > 3
    assert [line for line in lines if not line.startswith(b"<3>")] == []


def test_a_file_gets_plain_lines_that_name_the_process(
    conf: cfg.ConfigOpts, capfd: pytest.CaptureFixture[str]
) -> None:
    log.setup(conf, "compute-launcher")
    log.name_actor("worker=1 pid=4242")

    logging.getLogger("launcher.x").warning("serving")

    line = capfd.readouterr().err
    assert line.endswith(" WARNING launcher.x worker=1 pid=4242 serving\n")
    assert line.startswith("20")
    assert "\x1b" not in line


def test_an_error_that_is_being_handled_is_told_once(
    conf: cfg.ConfigOpts, capfd: pytest.CaptureFixture[str]
) -> None:
    """oslo.log appends it, also to a line that has its text."""
    log.setup(conf, "compute-launcher")
    logger = logging.getLogger("launcher.x")
    try:
        raise OSError(5, "no  login.")
    except OSError as error:
        logger.warning("refused: %s", one_line(error))
        logger.warning("left")

    told, other = capfd.readouterr().err.splitlines()
    assert told.endswith(" refused: [Errno 5] no login")
    assert other.endswith(" left: OSError: [Errno 5] no  login.")


def test_json_names_the_process_too(
    conf: cfg.ConfigOpts, capfd: pytest.CaptureFixture[str]
) -> None:
    conf.set_override("use_json", True)
    log.setup(conf, "compute-launcher")
    log.name_actor("worker=1 pid=4242", lambda: {"worker_slot": "1", "worker_step": "rpc"})

    logging.getLogger("launcher.x").warning("serving", extra={"extra": {"more": "facts"}})

    extra = json.loads(capfd.readouterr().err)["extra"]
    expected = {"actor": "worker=1 pid=4242", "worker_slot": "1", "worker_step": "rpc"}
    assert extra == expected | {"more": "facts"}


def test_the_journal_handler_of_oslo_log_is_told_of_slot_and_step(
    conf: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, object]] = []
    bindings = SimpleNamespace(send=lambda message, **fields: sent.append(fields))
    monkeypatch.setattr("oslo_log.handlers.journal", bindings)
    conf.set_override("use_journal", True)
    log.setup(conf, "compute-launcher")

    logging.getLogger("launcher.x").warning("of the master")
    log.name_actor("worker=0", lambda: {"worker_slot": "0", "worker_step": "init_host"})
    logging.getLogger("launcher.x").warning("of a worker")

    assert "WORKER_SLOT" not in sent[0]
    assert (sent[1]["WORKER_SLOT"], sent[1]["WORKER_STEP"]) == ("0", "init_host")


def test_the_journal_without_its_bindings_is_one_sentence(
    conf: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oslo_log.handlers.journal", None)
    conf.set_override("use_journal", True)

    with pytest.raises(ConfigError, match="use_journal needs the Python package systemd-python"):
        log.setup(conf, "compute-launcher")


@contextmanager
def at_a_terminal() -> Iterator[Callable[[], bytes]]:
    """Make stderr a terminal; returns the text that it shows."""
    ours, theirs = os.openpty()
    saved = os.dup(2)
    os.dup2(theirs, 2)
    try:
        yield lambda: os.read(ours, 4096)
    finally:
        os.dup2(saved, 2)
        for descriptor in (saved, ours, theirs):
            os.close(descriptor)


def test_a_terminal_gets_colours(conf: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    with at_a_terminal() as screen:
        log.setup(conf, "compute-launcher")
        logging.getLogger("launcher.x").error("out of luck")
        seen = screen()

    assert seen.startswith(b"\x1b[31m20")
    assert b"out of luck\x1b[0m" in seen


@pytest.mark.parametrize(("value", "colours"), [("1", False), ("", True)])
def test_no_color_is_respected(
    conf: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch, value: str, colours: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", value)
    with at_a_terminal() as screen:
        log.setup(conf, "compute-launcher")
        logging.getLogger("launcher.x").error("out of luck")

        assert screen().startswith(b"\x1b") is colours


def test_tracebacks_are_plain_wherever_they_go_if_that_is_wanted(conf: cfg.ConfigOpts) -> None:
    reader, writer = os.pipe()
    saved = os.dup(2)
    os.dup2(writer, 2)
    try:
        log.setup(conf, "compute-launcher", plain=True)
        with_traceback(logging.getLogger().handlers[-1])
    finally:
        os.dup2(saved, 2)
    lines = os.read(reader, 4096).decode().splitlines()
    for descriptor in (reader, writer, saved):
        os.close(descriptor)

    assert lines[1] == "| Traceback (most recent call last):"


def test_a_traceback_on_a_terminal_has_a_mark_before_each_line_and_no_more(
    conf: cfg.ConfigOpts,
) -> None:
    with at_a_terminal() as screen:
        log.setup(conf, "compute-launcher")
        with_traceback(logging.getLogger().handlers[-1])
        first, *more = plain(screen())

    assert "no luck" in first
    assert more[0] == "| Traceback (most recent call last):"
    assert [line for line in more if not line.startswith("| ")] == []
    assert {"| ValueError: first", "| second"} <= {*more}  # its second line forges none


def plain(screen: bytes) -> list[str]:
    """The text of a terminal without colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", screen.decode()).splitlines()


def test_a_prefix_of_tracebacks_that_is_configured_counts_on_a_terminal_too(
    conf: cfg.ConfigOpts,
) -> None:
    conf.set_override("logging_exception_prefix", "@@ ")
    with at_a_terminal() as screen:
        log.setup(conf, "compute-launcher")
        with_traceback(logging.getLogger().handlers[-1])

        assert plain(screen())[1] == "| @@ Traceback (most recent call last):"


def test_tracebacks_in_a_file_keep_their_time_whatever_stderr_is(
    conf: cfg.ConfigOpts, tmp_path: Path
) -> None:
    conf.set_override("log_file", str(tmp_path / "log"))
    with at_a_terminal():
        log.setup(conf, "compute-launcher")
        with_traceback(logging.getLogger().handlers[-1])

    assert "\n| Traceback" not in (tmp_path / "log").read_text()


def test_the_journal_keeps_the_time_itself(
    conf: cfg.ConfigOpts, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    log.setup(conf, "compute-launcher")
    log.name_actor("master")

    logging.getLogger("launcher.x").warning("ready")
    try:
        fail()
    except ValueError:
        logging.getLogger("launcher.x").exception("no luck")

    lines = capfd.readouterr().err.splitlines()
    assert lines[0] == "<4>launcher.x master ready"
    assert lines[1].startswith("<3>launcher.x master no luck")
    assert [line for line in lines[1:] if not line.startswith("<3>")] == []
    assert [line for line in lines if re.match(r"<\d>\d{4}-", line)] == []
    assert journal.error_prefix() == "<3>"


def test_a_format_of_the_operator_s_own_stays(
    conf: cfg.ConfigOpts, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    conf.set_override("logging_default_format_string", "mine: %(message)s")

    log.setup(conf, "compute-launcher")
    logging.getLogger("launcher.x").warning("ready")

    assert capfd.readouterr().err == "<4>mine: ready\n"


@pytest.mark.parametrize("stream", [None, "", "1:2", "garbage"])
def test_a_stream_that_is_not_ours_is_no_journal(stream: str | None) -> None:
    assert not journal.is_journal(2, stream)


@pytest.mark.parametrize("debug", [False, True])
def test_libraries_are_quiet_unless_one_debugs(
    conf: cfg.ConfigOpts, capfd: pytest.CaptureFixture[str], debug: bool
) -> None:
    conf.set_override("debug", debug)
    log.setup(conf, "compute-launcher")

    logging.getLogger("cotyledon").info("chatter")
    logging.getLogger("launcher.x").debug("detail")

    said = capfd.readouterr().err
    assert ("chatter" in said) is debug
    assert ("detail" in said) is debug


def test_no_buffered_stream_is_left(
    conf: cfg.ConfigOpts, capfd: pytest.CaptureFixture[str]
) -> None:
    conf.set_override("log_color", True)
    conf.set_override("use_stderr", True)

    log.setup(conf, "compute-launcher")

    handlers = logging.getLogger().handlers
    assert [type(handler) for handler in handlers] == [LineHandler]


@pytest.mark.parametrize(
    ("option", "value"), [("log_config_append", "/nope"), ("log_file", "/proc/nope/x")]
)
def test_a_wrong_option_is_one_sentence(
    conf: cfg.ConfigOpts, capfd: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    conf.set_override(option, value)

    with pytest.raises(ConfigError, match=f"logging cannot be set up: .*{value}"):
        log.setup(conf, "compute-launcher")

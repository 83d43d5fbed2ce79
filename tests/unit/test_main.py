"""The entry point: exit statuses, and one line on stderr for every error."""

import argparse
import inspect
import logging
import string
import sys
import threading
from collections.abc import Callable

import pytest
from oslo_config import cfg

from launcher import errors
from launcher.cli import commands, no_answer, output, parser, registry_commands, service
from launcher.cli import main as cli
from launcher.directories import locations
from launcher.errors import ExitStatus, LauncherError
from launcher.supervise.watch.notify import Notifier
from launcher.writing.log_handlers import LineHandler
from tests.support.waiting import elapse

BINARY = "compute-launcher"


def every_error() -> list[LauncherError]:
    """An error of each class; each of its facts is a text of two lines."""
    kinds = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
    return [unruly(kind) for kind in kinds if issubclass(kind, LauncherError)]


def unruly(kind: type[LauncherError]) -> LauncherError:
    fields = [name for _, name, _, _ in string.Formatter().parse(kind.__doc__ or "") if name]
    facts = {
        name: 2.5 if name in {"timeout", "seconds"} else f"{name}:\nTraceback" for name in fields
    }
    error = kind.__new__(kind)
    LauncherError.__init__(error, **facts)  # WorkerGaveUp's own wants a status as well
    return error


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs `main` with a command of the test, and without a configuration."""

    def run(action: Callable[[], int], *argv: str) -> int:
        def command(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
            return action()

        monkeypatch.setattr(service, "load", lambda binary, args, **_: None)
        monkeypatch.setattr(no_answer, "explain", lambda conf, worker: "")
        monkeypatch.setitem(commands.COMMANDS, "ping", command)
        return cli.main([f"/usr/bin/{BINARY}", *(argv or ("ping",))])

    return run


def fail(error: BaseException) -> Callable[[], int]:
    def action() -> int:
        raise error

    return action


def test_what_a_command_returns_is_the_status(run: Callable[..., int]) -> None:
    assert run(lambda: 0) == 0
    assert run(lambda: 3) == 3


@pytest.mark.parametrize("error", every_error(), ids=lambda error: type(error).__name__)
def test_every_error_is_exactly_one_line_with_its_status(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str], error: LauncherError
) -> None:
    assert run(fail(error)) == error.exit_status

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"{BINARY}: error: {error}\n"
    assert len(said.err.splitlines()) == 1


def test_a_wrong_command_line_is_one_line_and_status_2(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lambda: 0, "--workers", "x") == ExitStatus.USAGE

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_ctrl_c_is_130(run: Callable[..., int]) -> None:
    assert run(fail(KeyboardInterrupt())) == 130


def test_a_bug_is_not_hidden(run: Callable[..., int]) -> None:
    with pytest.raises(ZeroDivisionError):
        run(fail(ZeroDivisionError()))


@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("/usr/bin/compute-launcher", "compute-launcher"),
        ("conductor-launcher", "conductor-launcher"),
        ("/x/launcher/__main__.py", "compute-launcher"),
        ("their.py", "their"),
    ],
)
def test_the_script_names_the_service(script: str, name: str) -> None:
    assert locations.binary_name(script) == name


def test_every_command_of_the_grammar_is_there() -> None:
    grammar = parser.build(BINARY)
    for command in [*commands.COMMANDS, *registry_commands.COMMANDS]:
        words = [*command.split(), *(["x"] if command == "call" else [])]
        assert grammar.parse_args(words).command == command


def test_a_service_that_cannot_start_tells_systemd_why(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("stdout", "stderr"):  # a service takes them over
        monkeypatch.setattr(sys, name, getattr(sys, name))
    told: list[tuple[int, str]] = []

    def refuse(binary: str, args: argparse.Namespace) -> None:
        raise errors.OptionError(option="workers", problem="too many")

    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    monkeypatch.setattr(
        Notifier, "failed", lambda self, status, reason: told.append((status, reason))
    )
    monkeypatch.setattr(service, "load", refuse)

    assert cli.main([BINARY]) == 78
    assert told == [(78, "option workers: too many")]
    assert capfd.readouterr().err == f"{BINARY}: error: option workers: too many\n"


def test_the_sentence_is_the_last_line_whoever_goes_on(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of a bus driver go on, and log, until the process ends."""
    over, lines = threading.Event(), list[str]()

    class Listed(LineHandler):
        def decorate(self, record: logging.LogRecord, text: str) -> str:
            begun.set()
            lines.append(text)
            return text

    def go_on() -> None:
        while not over.is_set():
            logging.getLogger("driver").error("unreachable")

    begun, listed, driver = threading.Event(), Listed(), threading.Thread(target=go_on)
    logging.getLogger().addHandler(listed)
    monkeypatch.setattr(output, "complain", lambda binary, error: lines.append(str(error)))

    def fail_meanwhile() -> int:
        driver.start()
        assert begun.wait(10)
        raise errors.ConfigError(problem="the verdict")

    try:
        run(fail_meanwhile)
        told = len(lines)
        assert "the verdict" in lines[-1]
        elapse(0.05)
        assert len(lines) == told
    finally:
        over.set()
        driver.join()
        logging.getLogger().removeHandler(listed)

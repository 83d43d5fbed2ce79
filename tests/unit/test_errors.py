"""Errors are sentences with exit statuses; exceptions become parts of sentences."""

import sys

import pytest
from oslo_messaging._drivers.common import (
    deserialize_remote_exception,
    serialize_remote_exception,
)

from launcher import errors
from launcher.errors import ExitStatus, LauncherError
from launcher.exception_text import one_line, reason


@pytest.mark.parametrize(
    ("error", "sentence", "status"),
    [
        (LauncherError(reason="x"), "internal error: x", 1),
        (errors.UsageError(problem="no such slot"), "no such slot", 2),
        (
            errors.WorkersKeptDying(binary="compute-launcher", reason="budget spent"),
            "compute-launcher gave up: budget spent",
            3,
        ),
        (
            errors.BusUnavailable(url="unix:///run/bus", reason="no answer"),
            "bus unix:///run/bus cannot be reached: no answer",
            69,
        ),
        (
            errors.NoAnswer(method="ping", target="compute on h", timeout=2.5),
            "no answer to ping from compute on h within 2.5 s; is the service running?",
            69,
        ),
        (
            errors.ProbeFailed(target="compute-alt/h.0", reason="no answer within 10 s"),
            "no round trip to compute-alt/h.0 through the bus: no answer within 10 s",
            69,
        ),
        (errors.OptionError(option="workers", problem="too many"), "option workers: too many", 78),
        (
            errors.DirectoryUnusable(option="state_path", path="/x", reason="denied", uid=7),
            "state_path = /x: denied; make the directory writable for uid 7 or set state_path to "
            "another one",
            78,
        ),
    ],
)
def test_the_docstring_is_the_message(error: LauncherError, sentence: str, status: int) -> None:
    assert (str(error), error.exit_status) == (sentence, status)


def test_a_worker_that_gives_up_brings_its_own_status() -> None:
    error = errors.WorkerGaveUp(ExitStatus.UNAVAILABLE, reason="no bus")

    assert (str(error), error.exit_status) == ("no bus", 69)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\x0b", "\x1e", "\u2028"])
def test_a_fact_of_several_lines_still_makes_one_line(ending: str) -> None:
    error = errors.ConfigError(problem=f"first{ending}second")

    assert str(error) == "first second"


def test_braces_in_a_fact_are_left_alone() -> None:
    assert str(errors.ConfigError(problem="{host} and {}")) == "{host} and {}"


def test_a_forgotten_fact_is_a_bug_that_shows_at_once() -> None:
    with pytest.raises(KeyError):
        errors.NoAnswer(method="ping")


def test_one_line_is_a_part_of_a_sentence() -> None:
    assert one_line(ValueError("first\n  second.")) == "first second"
    assert one_line(LauncherError(reason="x")) == "internal error: x"
    assert one_line(ValueError()) == "ValueError"


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text to be had")


GROUP = ExceptionGroup("of\ntwo", [ValueError("a"), ExceptionGroup("x", [TypeError("b"), Mute()])])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("first\n  second."), "ValueError: first second"),
        (ValueError(), "ValueError"),
        (KeyError("x"), "KeyError: 'x'"),
        (SystemExit(3), "SystemExit: 3"),
        (Mute(), "Mute"),
        (GROUP, "ExceptionGroup: of two (ValueError: a; TypeError: b; Mute)"),
        (BaseExceptionGroup("", [KeyboardInterrupt()]), "BaseExceptionGroup: (KeyboardInterrupt)"),
        (errors.ConfigError(problem="too many"), "too many"),
        (errors.ConfigError(problem=Mute()), "Mute"),
        (ValueError("\x1b[2J"), r"ValueError: \x1b[2J"),
    ],
)
def test_a_reason_is_the_type_and_the_text_if_that_can_be_had(
    error: BaseException, told: str
) -> None:
    assert reason(error) == told


def test_of_a_large_group_some_leaves_are_told() -> None:
    group = ExceptionGroup("many", [ValueError(str(number)) for number in range(8)])

    assert reason(group).endswith("ValueError: 3; ValueError: 4; 3 more)")


@pytest.mark.parametrize("error", [ValueError("no\nluck"), KeyError("k"), TimeoutError("late")])
def test_of_what_was_raised_elsewhere_the_traceback_is_not_told(error: Exception) -> None:
    """oslo.messaging appends it to the text, or to the first argument of a built-in error."""
    try:
        raise error
    except Exception:  # noqa: BLE001
        sent = serialize_remote_exception(sys.exc_info())
    remote = deserialize_remote_exception(sent, [])

    assert "Traceback" in str(remote)
    assert reason(remote) == reason(error)

"""Errors are sentences, and each knows its exit status."""

import pytest

from launcher import errors
from launcher.errors import ExitStatus, LauncherError, one_line


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

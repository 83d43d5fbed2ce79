"""What the service says of what went wrong: the reason, one line, and nothing of a stranger's."""

import os
import re
import signal

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import put_text, workers
from tests.functional.service.wordy import FORGED
from tests.support.processes import Launcher

RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [A-Z]+ +[\w.]+ (master|worker=)|\| ")
GROUP = r"ExceptionGroup: two of them \(ValueError: first; TypeError: second\)"


@pytest.fixture
def service(start: Start) -> Launcher:
    main = {"manager": "tests.functional.service.wordy:Wordy", "periodic_fuzzy_delay": 0}
    buffered = {"PYTHONUNBUFFERED": ""}  # as it is unless somebody says otherwise
    service = start("Wordy", "--workers=1", config={"DEFAULT": main}, env=buffered)
    service.wait_ready()
    return service


@pytest.mark.usefixtures("transport")
def test_a_clients_mistake_is_one_line_and_it_is_told_what_there_is(service: Launcher) -> None:
    for method, arguments, told in (
        (
            "hidden",
            (),
            r"NoSuchMethod: no method hidden of version 1.0 can be called; there are: "
            r"baseapi\.\w+, .*\becho\b",
        ),
        (FORGED, (), r"NoSuchMethod: no method "),
        (
            "echo",
            ("nope=1",),
            r"TypeError: echo: got an unexpected keyword argument 'nope'; its "
            r"arguments are: value: object = None",
        ),
    ):
        since = len(service.output)
        answer = service.run_command("call", method, *arguments)
        assert answer.status == 1
        assert re.search(told, answer.stderr)
        assert "\x1b" not in answer.stderr
        service.wait_for_line(r" INFO .* a call \(.+\) is refused: ", since=since)
    assert "Traceback" not in service.output
    assert_all_lines_are_our_own(service)


@pytest.mark.usefixtures("transport")
def test_a_strangers_text_forges_no_line(service: Launcher) -> None:
    answer = service.run_command("call", "raise_forged")

    assert len(answer.stderr.splitlines()) == 1
    assert "\x1b" not in answer.stderr
    service.wait_for_line(r"^\| .*ValueError: x$")
    assert_all_lines_are_our_own(service)


def assert_all_lines_are_our_own(service: Launcher) -> None:
    """Each is a record of a process of ours, or a line of a traceback marked as one."""
    assert [line for line in service.output.split("\n")[:-1] if not RECORD.match(line)] == []
    assert "\x1b" not in service.output


@pytest.mark.usefixtures("transport")
def test_of_a_group_the_leaves_are_told(service: Launcher) -> None:
    answer = service.run_command("call", "raise_group")

    assert answer.status == 1
    assert re.search(GROUP, answer.stderr)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        ("mute", "Mute"),
        ("group", GROUP),
        ("base", "BaseException"),
        ("key", "KeyError: 'k'"),
    ],
)
def test_the_reason_of_a_start_that_failed_is_told(
    service: Launcher, raised: str, told: str
) -> None:
    put_text(service, "raise", raised)
    os.kill(workers(service)[0]["pid"], signal.SIGKILL)

    service.wait_for_line(rf" master worker 0 pid \d+ .*init_host: {told}")


@pytest.mark.parametrize(
    ("raised", "told"), [("key", "KeyError: 'k'"), ("mute", "Mute"), ("group", GROUP)]
)
def test_the_reason_of_a_task_that_fails_again_is_told(
    service: Launcher, raised: str, told: str
) -> None:
    put_text(service, "raise-in-task", raised)

    service.wait_for_line(rf"periodic task stumble failed again: {told}$")


def test_what_a_worker_prints_is_not_lost(service: Launcher) -> None:
    """Its stdout and stderr are a file; it is killed right after it has printed."""
    service.run_command("call", "say", "text=hello", "--timeout=1")

    service.wait_for_line("^hello$")
    service.wait_for_line("^hello, too$")

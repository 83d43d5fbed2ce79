"""`make run`, as a person at a terminal meets it. (`make test` is what runs this.)"""

import re
from pathlib import Path

import pytest

from tests.support.processes import SERVING, Launcher
from tests.support.terminal import CTRL_C, Terminal

ROOT = Path(__file__).parents[2]
SETUP_DEADLINE = 240.0  # seconds, should the environment have to be made


@pytest.mark.timeout(300)
def test_make_run_serves_until_ctrl_c_and_leaves_nothing_to_read_or_to_kill() -> None:
    with (
        Terminal() as terminal,
        Launcher(command=("make", "run"), cwd=ROOT, terminal=terminal) as run,
    ):
        run.wait_for_line(SERVING, SETUP_DEADLINE)
        assert len(run.workers()) == 4

        terminal.press(CTRL_C)

        assert run.wait() == 0
        run.assert_nothing_left()
        after = terminal.screen.split("^C", 1)[1]
        assert [
            line for line in after.splitlines() if re.search(r"make|Error|Traceback", line)
        ] == []


def test_a_second_make_run_starts_without_installing_anything() -> None:
    with (
        Terminal() as terminal,
        Launcher(command=("make", "run"), cwd=ROOT, terminal=terminal) as run,
    ):
        run.wait_for_line("starting 4 workers")
        assert "install" not in run.output


def test_what_follows_args_reaches_the_launcher(terminal: Terminal) -> None:
    command = ("make", "run", "ARGS=--workers 2")
    with Launcher(command=command, cwd=ROOT, terminal=terminal) as run:
        run.wait_for_line("2/2 workers serving")

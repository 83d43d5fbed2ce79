"""The launcher of the tests is watched closely, and nothing of it outlives its test."""

import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from tests.functional.conftest import Launch
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.terminal import CTRL_C, Terminal
from tests.support.traces import all_processes, children
from tests.support.waiting import wait_until

# A terminal system of its own, as in a container, in which it opens the terminal of that name.
NAMESAKE = """\
import os, subprocess, sys, time
subprocess.run(["mount", "-t", "devpts", "-o", "ptmxmode=0666", "none", "/dev/pts"], check=True)
while True:
    _, terminal = os.openpty()
    if os.ttyname(terminal) == sys.argv[1]:
        break
print(sys.argv[1], flush=True)
time.sleep(600)
"""


def alive(pids: list[int]) -> list[int]:
    return [one.pid for one in all_processes() if one.pid in pids and one.state != "Z"]


def test_a_client_command_finds_the_launcher_of_the_test(launch: Launch) -> None:
    launcher = launch("--workers=2", config={"DEFAULT": {"host": "here"}})
    launcher.wait_ready()
    assert len(launcher.workers()) == 2

    done = launcher.run_command("services", "list")

    assert (done.status, done.stderr) == (0, "")
    assert "here" in done.stdout


def test_ready_is_heard_through_the_notify_socket(launch: Launch, notify: NotifySocket) -> None:
    launcher = launch("--workers=2", notify=notify)
    launcher.wait_ready()
    assert notify.wait_for("READY=1", 0).pid == launcher.pid


def test_an_early_end_is_told_at_once_and_not_waited_out(launch: Launch) -> None:
    launcher = launch("--workers=none")
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"ended with status \d+ before"):
        launcher.wait_ready(600)
    assert time.monotonic() - began < 60


def test_orphans_that_cannot_end_by_themselves_are_seen_and_killed() -> None:
    with Launcher(command=("sh", "-c", "sleep 600 & exec sleep 600")) as launcher:
        below = wait_until(lambda: children(launcher.pid), 10, "there is a child")
        os.kill(below[0], signal.SIGSTOP)
        os.kill(launcher.pid, signal.SIGKILL)
        assert launcher.wait() == -signal.SIGKILL

        assert [one.pid for one in launcher.left_over()] == below
        with pytest.raises(AssertionError, match=str(below[0])):
            launcher.assert_nothing_left(0.1)

    assert alive(below) == []
    assert not launcher.directory.exists()


def test_a_process_that_has_hidden_itself_is_seen_by_its_open_files() -> None:
    """It has left the session, its parent is gone, and neither environment nor command tell."""
    child = "exec setsid env -i sleep 600"
    with Launcher(command=("sh", "-c", f"({child}) & exit 0")) as launcher:
        assert launcher.wait() == 0
        hidden = wait_until(launcher.left_over, 10, "the child is found")
        wait_until(lambda: launcher.left_over()[0].command == "sleep 600", 10, "it is a sleep")
        assert [one.ppid for one in hidden] != [launcher.pid]

    assert alive([one.pid for one in hidden]) == []


def test_a_terminal_is_not_taken_for_another_of_the_same_name(terminal: Terminal) -> None:
    """A container counts its own from 0 again, and a variable may name one that is gone."""
    namesake = ["unshare", "--map-root-user", "--mount", sys.executable, "-c", NAMESAKE]
    named = {"PATH": os.defpath, "SSH_TTY": terminal.name}
    with ExitStack() as stack:
        stranger = stack.enter_context(
            subprocess.Popen([*namesake, terminal.name], env=named, stdout=subprocess.PIPE)
        )
        stack.callback(stranger.kill)
        assert stranger.stdout is not None
        assert stranger.stdout.readline().decode().strip() == terminal.name
        with Launcher(command=("true",), terminal=terminal) as launcher:
            assert launcher.wait() == 0
            ours = subprocess.Popen(["sleep", "600"], env={}, stdin=terminal.theirs)

            assert [one.pid for one in launcher.left_over()] == [ours.pid]

        assert ours.wait(timeout=10) == -signal.SIGKILL
        assert stranger.poll() is None


def test_ctrl_c_through_a_terminal_reaches_a_launcher(terminal: Terminal, launch: Launch) -> None:
    launcher = launch("--workers=2", terminal=terminal)
    launcher.wait_ready()

    terminal.press(CTRL_C)

    assert launcher.wait() == 0
    launcher.assert_nothing_left()


def test_a_terminal_is_shared_by_a_script_and_what_it_starts(terminal: Terminal) -> None:
    """Reading, keys and line ends work as at a real one, for any program."""
    program = (
        "trap 'echo caught; exit 3' INT; read -r word; echo you said $word; while :; do :; done"
    )
    process = terminal.start(["sh", "-c", program], env={"PATH": os.defpath})
    terminal.press("hello\n")
    terminal.wait_for("^you said hello$", 10)

    terminal.press(CTRL_C)

    terminal.wait_for("caught$", 10)
    assert process.wait(timeout=10) == 3

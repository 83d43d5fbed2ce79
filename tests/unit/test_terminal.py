"""Process groups and terminals, with real pseudo terminals and sessions."""

import os
import pty
import signal
from collections.abc import Callable

import pytest

from launcher import blocked_signals
from launcher.supervise.processes import terminal
from launcher.supervise.processes.terminal import own_process_group


@pytest.mark.parametrize(
    ("script", "args", "ask"),
    [
        ("/there/thermo-launcher", [], "thermo-launcher status"),
        (".venv/bin/thermo-launcher", [], ".venv/bin/thermo-launcher status"),
        ("/there/launcher/__main__.py", [], "thermo-launcher status"),
        (
            "/there/thermo-launcher",
            ["--config-file=/a b/c"],
            "thermo-launcher '--config-file=/a b/c' status",
        ),
    ],
)
def test_a_person_is_told_a_command_that_finds_this_service(
    monkeypatch: pytest.MonkeyPatch, script: str, args: list[str], ask: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/there/{name}")
    told = terminal.hint("thermo-launcher", script, args)
    assert told == f"ask it: {ask}; stop it: Ctrl-C, twice to stop at once"


def in_session(action: Callable[[], object], *, stdin: str | None = None) -> None:
    """Run `action` in the foreground of a new terminal, in a script's child that does not lead
    its group.

    :param stdin: the child's stdin; None: the terminal.
    """
    pid, terminal = pty.fork()
    if pid == 0:
        script = os.fork()
        if script != 0:  # the leader of the session waits, as a shell that runs a script does
            _, status = os.waitpid(script, 0)
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
        signal.alarm(10)
        blocked_signals.block()
        if stdin is not None:
            os.dup2(os.open(stdin, os.O_RDONLY), 0)
        _exit_after(action)
    heard = _read_to_the_end(terminal)
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0, heard


def _exit_after(action: Callable[[], object]) -> None:
    try:
        action()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  # a child must not run the other tests
        os.write(2, f"{error!r}\n".encode())
        os._exit(1)


def _read_to_the_end(terminal: int) -> bytes:
    heard = b""
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # EIO: nobody has it open any more
            return heard
        if not data:
            return heard
        heard += data


def foreground() -> int:
    descriptor = os.open("/dev/tty", os.O_RDWR)
    try:
        return os.tcgetpgrp(descriptor)
    finally:
        os.close(descriptor)


def check_that_we_are_brought_to_the_foreground() -> None:
    before = os.getpgrp()
    assert before != os.getpid()
    assert foreground() == before
    with own_process_group():
        assert os.getpgrp() == os.getpid()
        assert foreground() == os.getpid()
    assert foreground() == before


def test_the_master_leads_the_foreground_group_and_gives_it_back() -> None:
    in_session(check_that_we_are_brought_to_the_foreground)


def test_ctrl_c_finds_a_master_whose_stdin_leads_elsewhere() -> None:
    """make -j and scripts give their children another stdin, but Ctrl-C is for them too."""
    in_session(check_that_we_are_brought_to_the_foreground, stdin="/dev/null")


def test_the_foreground_is_given_back_after_an_error() -> None:
    def check() -> None:
        before = os.getpgrp()
        try:
            with own_process_group():
                raise ZeroDivisionError
        except ZeroDivisionError:
            assert foreground() == before

    in_session(check)


def test_a_job_in_the_background_stays_there() -> None:
    def check() -> None:
        os.setpgid(0, 0)  # as a shell does with `&`
        before = foreground()
        with own_process_group():
            assert os.getpgrp() == os.getpid()
            assert foreground() == before
        assert foreground() == before

    in_session(check)


def test_setsid_fails_harmlessly_inside() -> None:
    def check() -> None:
        session = os.getsid(0)
        with own_process_group():
            try:
                os.setsid()
            except PermissionError:
                assert os.getsid(0) == session
            else:
                raise AssertionError("cut off the terminal")

    in_session(check)


def test_a_leader_of_a_session_leads_already() -> None:
    pid = os.fork()
    if pid == 0:
        os.setsid()  # without a terminal

        def check() -> None:
            with own_process_group():
                assert os.getpgrp() == os.getpid()

        _exit_after(check)
    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 0

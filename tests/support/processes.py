"""The real program: started as an operator or systemd starts it, watched and, at last, killed."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from tests.support.commands import SCRIPTS, Completed, Config, environment, render, run, run_script
from tests.support.directories import short_directory
from tests.support.notify_socket import NotifySocket
from tests.support.terminal import Terminal
from tests.support.traces import Process, children, kill_traces, runs_python, traces
from tests.support.users import as_user
from tests.support.waiting import wait_until

SERVING = r"\b(\d+)/\1 workers serving"
READY_DEADLINE = 60.0  # seconds; a loaded machine imports slowly
EXIT_DEADLINE = 30.0
COMMAND_DEADLINE = 60.0
NOTHING_LEFT_DEADLINE = 5.0


class Launcher:
    """One running `compute-launcher` with directories of its own, as a context manager.

    Leaving the block kills whatever is left of it and writes its output to stderr, which pytest
    shows where the test has failed.

    :param options: of the command line.
    :param config: options by group, written to a configuration file; a list makes several lines.
    :param env: environment variables in addition to the inherited ones.
    :param notify: have it notify this socket, as under systemd with Type=notify.
    :param watchdog_seconds: systemd's WatchdogSec, for this process.
    :param terminal: start it in this terminal; otherwise its output goes to a file.
    :param script: the installed script to run; its name picks the service.
    :param command: run this in place of the script, with no options: `("make", "run")`.
    :param cwd: where it starts; by default in its own directory.
    :param stderr: a descriptor that its stdout and stderr lead to, in place of that file.
    :param user: its user id, where root runs the tests; the directories are given to him.
    :param private: they lie behind a directory of root's alone, which the service gets through.
    :param verbose: write its output to stderr at the end.
    """

    def __init__(
        self,
        *options: str,
        config: Config | None = None,
        env: Mapping[str, str] | None = None,
        notify: NotifySocket | None = None,
        watchdog_seconds: float | None = None,
        terminal: Terminal | None = None,
        script: str = "compute-launcher",
        command: Sequence[str] = (),
        cwd: Path | None = None,
        stderr: int | None = None,
        user: int | None = None,
        private: bool = False,
        verbose: bool = True,
    ) -> None:
        self._options = options
        self._config = config or {}
        self._extra = dict(env or {})
        self._notify = notify
        self._watchdog_seconds = watchdog_seconds
        self._terminal = terminal
        self._script = script
        self._command = command
        self._cwd = cwd
        self._stderr = stderr
        self._user = user
        self._private = private
        self._verbose = verbose

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.directory = stack.enter_context(short_directory())
            if self._private:
                self.directory /= "private/of"
                self.directory.mkdir(parents=True)
            self._lay_out()
            self._process = self._start()
            if self._verbose:
                stack.callback(self._show_output)
            stack.callback(self._kill)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def state_path(self) -> Path:
        """$STATE_DIRECTORY."""
        return self.directory / "state"

    @property
    def runtime_path(self) -> Path:
        """$RUNTIME_DIRECTORY; short enough for the sockets in it."""
        return self.directory / "run"

    @property
    def config_file(self) -> Path:
        """The file with `config`; always there. `configure` rewrites it."""
        return self.directory / "launcher.conf"

    @property
    def environment(self) -> dict[str, str]:
        """What the program and its commands find in their environment."""
        return environment(self.directory, self.state_path, self.runtime_path) | self._extra

    @property
    def output(self) -> str:
        """All that it has written so far to stdout and stderr, or to its terminal."""
        if self._terminal is not None:
            return self._terminal.screen
        return self._log.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """Pid of what was started: the master, unless `command` starts the master itself."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def master(self) -> int:
        """Pid of the master: the first Python process in the line of what was started."""
        pid = self.pid
        while not runs_python(pid) and (below := children(pid)):
            pid = below[0]
        return pid

    def workers(self) -> list[int]:
        """Pids of the master's living children, the oldest first."""
        return children(self.master())

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the master, as `kill` and systemd do."""
        os.kill(self.master(), number)

    def configure(self, config: Config) -> None:
        """Rewrite the configuration file, for a reload."""
        self.config_file.write_text(render(config))

    def wait(self, deadline: float = EXIT_DEADLINE) -> int:
        """Wait until it has ended; its exit status, negative for a signal."""
        wait_until(lambda: self.status is not None, deadline, "the launcher has ended")
        return self._process.returncode

    def wait_for_line(
        self, pattern: str, deadline: float = READY_DEADLINE, *, since: int = 0
    ) -> re.Match[str]:
        """Wait for a line of the output with `pattern`; fails at once when the process has ended
        without it. Of a line that may come again, give `since`: the `len(output)` to begin at."""
        line = re.compile(pattern, re.MULTILINE)

        def found() -> re.Match[str] | None:
            ended = self.status is not None  # looked at first, so that its last words are read
            match = line.search(self.output, since)
            assert match or not ended, f"ended with status {self.status} before {pattern!r}"
            return match

        match = wait_until(found, deadline, f"a line with {pattern!r}")
        assert match is not None
        return match

    def wait_ready(self, deadline: float = READY_DEADLINE) -> None:
        """Wait until all workers serve: for READY=1 where there is a notify socket, else for the
        line in the log; fails at once when the process has ended before."""
        if self._notify is None:
            self.wait_for_line(SERVING, deadline)
            return
        notify = self._notify
        wait_until(lambda: self.status is not None or notify.says("READY=1"), deadline, "READY=1")
        assert notify.says("READY=1"), f"ended with status {self.status} before READY=1"

    def start_again(self) -> None:
        """Start it anew on the same directories, when it has ended; its output begins anew."""
        assert self.status is not None
        self._log.write_text("")
        self._process = self._start()

    def run_command(
        self, *args: str, deadline: float = COMMAND_DEADLINE, env: Mapping[str, str] | None = None
    ) -> Completed:
        """Run a client command, such as `ping`, on the same directories and configuration."""
        full = [*args, f"--config-file={self.config_file}"]
        found = self.environment | dict(env or {})
        return run_script(self._script, full, env=found, deadline=deadline)

    def run_shell(self, line: str) -> Completed:
        """A line of sh with the script as $0, on the same directories."""
        return run(
            ["sh", "-c", line, str(SCRIPTS / self._script)],
            env=self.environment,
            deadline=COMMAND_DEADLINE,
        )

    def left_over(self) -> list[Process]:
        """Every living process that was started by this one, wherever it is now."""
        return traces(self.pid, [str(self.directory)], self._terminal_file)

    def assert_nothing_left(self, deadline: float = NOTHING_LEFT_DEADLINE) -> None:
        """Fail unless all processes of this launcher are gone within `deadline` seconds."""
        what = "the launcher has left no process behind"
        wait_until(lambda: not self.left_over(), deadline, what, show=self.left_over)

    @property
    def _terminal_file(self) -> os.stat_result | None:
        return None if self._terminal is None else self._terminal.file

    @property
    def _log(self) -> Path:
        return self.directory / "output"

    def _lay_out(self) -> None:
        self.state_path.mkdir(mode=0o700)
        self.runtime_path.mkdir(mode=0o700)
        self.configure(self._config)
        self._log.touch()
        if self._user is not None:
            self.directory.chmod(0o755)
            for path in (self.directory, self.state_path, self.runtime_path, self.config_file):
                os.chown(path, self._user, self._user)

    def _start(self) -> subprocess.Popen[bytes]:
        script = [str(SCRIPTS / self._script), f"--config-file={self.config_file}"]
        user = [] if self._user is None else as_user(self._user, self.directory)
        command = [*user, *self._watchdog(), *(self._command or [*script, *self._options])]
        found = self.environment
        if self._notify is not None:
            found["NOTIFY_SOCKET"] = self._notify.address
        cwd = self._cwd or self.directory
        if self._terminal is not None:
            return self._terminal.start(command, env=found, cwd=cwd)
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                env=found,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log if self._stderr is None else self._stderr,
                stderr=log if self._stderr is None else self._stderr,
                start_new_session=True,
            )

    def _watchdog(self) -> list[str]:
        """A prefix that sets $WATCHDOG_PID, which has to be the pid of the program itself."""
        if self._watchdog_seconds is None:
            return []
        microseconds = int(self._watchdog_seconds * 1_000_000)
        script = f'WATCHDOG_USEC={microseconds} WATCHDOG_PID=$$ exec "$@"'
        return ["sh", "-c", script, "sh"]

    def _kill(self) -> None:
        kill_traces(self.pid, [str(self.directory)], self._terminal_file)
        self._process.wait()

    def _show_output(self) -> None:
        command = " ".join(self._command or [self._script, *self._options])
        sys.stderr.write(f"--- {command} (status {self.status}) ---\n{self.output}\n")

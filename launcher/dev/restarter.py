"""What --dev runs in place of the master: watches the source files, and has masters run the code.

A master cannot take new code: it has imported the manager before the fork, and workers are copies
of it. So a master is replaced as a whole. The watcher has imported all but the manager, and forks
an attempt, which imports the manager; then it stops the master and has the attempt go on in its
place. When the import fails, the master stays. The steps, in their order:

    saved -> attempt forked -> imported -> master told to stop -> it has ended -> attempt goes

Whatever a person wants (Ctrl-C, kill) comes to the watcher, which hands it on.
"""

import importlib
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from launcher import blocked_signals
from launcher.dev.attempt import Attempt, Serve
from launcher.dev.sources import Watch, fingerprint, imported
from launcher.errors import ExitStatus, NoTaskLeft, UsageError
from launcher.foreign_text import fit
from launcher.supervise.processes import terminal
from launcher.writing import log
from launcher.writing.log_handlers import coloured
from launcher.writing.outlet import ERRORS

LOOK_SECONDS = 0.15
BUSY_SECONDS = 0.02  # between two looks at what is about to change
DRAIN_SECONDS = 5.0  # that calls in hand have when a file was saved
NAMED_FILES = 3
UNCHANGED = "the code from before goes on serving, until a file is saved"
NOTHING_SERVES = "nothing serves until a file is saved"
# With these a master ends that new code may mend; so does one that is killed.
MENDABLE = {ExitStatus.INTERNAL, ExitStatus.WORKERS_DYING}


def run(binary: str, serve: Serve) -> int:
    """Called in the main thread, with no other one alive; returns the exit status.

    :raises UsageError: systemd has started us.
    """
    refuse_under_systemd(os.environ, os.getpid())
    _import_all_but_the_manager()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    with terminal.own_process_group():
        return Watcher(binary, serve).run()


def refuse_under_systemd(environ: Mapping[str, str], pid: int) -> None:
    """Raise UsageError for a service of systemd's, which would take the watcher for the master. A
    desktop's programs inherit INVOCATION_ID from a service; SYSTEMD_EXEC_PID tells whose it is."""
    ours = environ.get("SYSTEMD_EXEC_PID", str(pid)) == str(pid)
    if environ.get("NOTIFY_SOCKET") or (environ.get("INVOCATION_ID") and ours):
        raise UsageError(
            problem="--dev is for a developer's terminal, and this was started by systemd; "
            "take --dev out of the unit"
        )


def _import_all_but_the_manager() -> None:
    """So that each attempt has them from the start."""
    importlib.import_module("launcher.supervise.master")
    importlib.import_module("launcher.supervise.operations.in_force")


class Watcher:
    """One a process."""

    def __init__(self, binary: str, serve: Serve) -> None:
        self._binary = binary
        self._serve = serve
        self._here = Path.cwd()  # now: it may be removed later
        self._watch = Watch()
        self._ours = set(imported())  # what only a new watcher can have anew
        self._outdated = False  # one of those was saved
        for path in self._ours:
            self._watch.note(path, fingerprint(path))
        self._master: Attempt | None = None
        self._attempt: Attempt | None = None  # to be the next master
        self._told = False  # the master is to end for the attempt
        self._impatient_at = 0.0  # monotonic seconds, once it is told
        self._asked = 0  # how often a person wanted an end
        self._at_terminal = terminal.foreground_group() is not None
        self._status: int | None = None

    def run(self) -> int:
        """Until a person ends it, or the service ends for a reason that no new code can mend."""
        self._say("development mode: the service starts anew when a source file is saved")
        self._begin([])
        while self._status is None:
            self._take_signal()
            self._hear()
            self._bury()
            self._replace()
            self._look()
        return self._status if self._status >= 0 else 128 - self._status

    def _take_signal(self) -> None:
        busy = self._attempt is not None or self._told
        taken = {*blocked_signals.TAKEN, signal.SIGCHLD}
        found = signal.sigtimedwait(taken, BUSY_SECONDS if busy else LOOK_SECONDS)
        if found is None or found.si_signo == signal.SIGCHLD:
            return
        number = signal.Signals(found.si_signo)
        if number in {signal.SIGTERM, signal.SIGINT}:
            self._stop(number)
        elif number is signal.SIGHUP and self._has_lost_terminal():
            self._stop(signal.SIGTERM)
        elif self._master:
            self._master.signal(number)

    def _has_lost_terminal(self) -> bool:
        return self._at_terminal and terminal.foreground_group() is None

    def _stop(self, number: signal.Signals) -> None:
        """The first one drains, the second kills; a drain for new code counts as no first one."""
        self._asked += 1
        self._drop_attempt()
        if self._master is None:
            self._status = ExitStatus.STOPPED
        elif self._asked > 1 or not self._told:
            self._master.signal(number)

    def _hear(self) -> None:
        for process in filter(None, (self._master, self._attempt)):
            process.hear(self._watch.note)

    def _bury(self) -> None:
        if (attempt := self._attempt) and (status := attempt.ended()) is not None:
            attempt.hear(self._watch.note)
            attempt.close()
            self._attempt = None
            self._on_failed(attempt, status)
        if self._master and (status := self._master.ended()) is not None:
            self._master.close()
            self._master = None
            self._on_end(status)

    def _on_failed(self, attempt: Attempt, status: int) -> None:
        """It has said why, but for a signal."""
        if status < 0:
            self._say(f"the import was ended by {signal.Signals(-status).name}", "ERROR")
        if self._master and not self._told:
            self._say(UNCHANGED, "WARNING")
        elif self._told or attempt.files:
            self._say(NOTHING_SERVES, "WARNING")
        else:  # it did not get as far as the code
            self._status = status
        self._watch.note_directories(attempt.files)

    def _on_end(self, status: int) -> None:
        told, self._told = self._told, False
        if self._asked:
            self._status = status
        elif told:
            return
        elif status < 0 or status in MENDABLE:
            self._say(f"the service ended ({_how(status)}); nothing serves until a file is saved")
        else:
            self._drop_attempt()
            self._status = status

    def _replace(self) -> None:
        """The master by the attempt, as far as they are."""
        if not (self._attempt and self._attempt.imported):
            return
        if self._master is None:
            self._go(self._attempt)
        elif not self._told:
            self._told = True
            self._impatient_at = time.monotonic() + DRAIN_SECONDS
            self._master.signal(signal.SIGTERM)
        elif time.monotonic() >= self._impatient_at:
            self._impatient_at += DRAIN_SECONDS
            self._master.signal(signal.SIGTERM)

    def _go(self, attempt: Attempt) -> None:
        if self._outdated:
            self._drop_attempt()
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
        self._watch.forget_directories()
        self._master, self._attempt = attempt, None
        attempt.go()

    def _look(self) -> None:
        if self._asked or not (saved := self._watch.look()):
            return
        self._say(f"{_names(saved, self._here)} saved")
        self._outdated = self._outdated or not self._ours.isdisjoint(saved)
        self._drop_attempt()
        try:
            self._begin(saved)
        except NoTaskLeft as error:
            self._say(str(error), "ERROR")
            self._say(UNCHANGED if self._master else NOTHING_SERVES, "WARNING")

    def _begin(self, saved: list[str]) -> None:
        others = [self._master] if self._master else []
        self._attempt = Attempt(self._serve, saved, others)

    def _drop_attempt(self) -> None:
        if self._attempt:
            self._attempt.kill()
        self._attempt = None

    def _say(self, text: str, level: str = "INFO") -> None:
        """On stderr, as commands do: it needs no configuration, as the log does."""
        line = fit(f"{self._binary}: {text}")
        shown = coloured(level, line) if log.has_colours() else line
        ERRORS.write(f"{shown}\n".encode("utf-8", "replace"))


def _how(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"


def _names(saved: list[str], here: Path) -> str:
    """The names of saved files, relative to the directory `here` where they lie in it."""
    paths = [Path(path) for path in saved[:NAMED_FILES]]
    names = [str(one.relative_to(here) if one.is_relative_to(here) else one) for one in paths]
    rest = [f"{len(saved) - NAMED_FILES} more"] if len(saved) > NAMED_FILES else []
    return ", ".join([*names, *rest])

"""One run of the chaos test: fault after fault, and what is seen of the service meanwhile."""

import os
import random
import shutil
import signal
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from tests.functional.service.mischief import CLIENTS_BACK_SECONDS, Mischief
from tests.support.lost_calls import Trouble
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.traces import ZOMBIE, all_processes
from tests.support.truth import REMARK, Lie, Limits, Sight, lies, rules
from tests.support.waiting import wait_until
from tests.support.witness import Witness, ask

SEED = int(os.environ.get("SEED", random.randrange(1 << 32)))
REPORT = os.environ.get("CHAOS_REPORT")
WORKERS = 4
# From a fault to all serving again: beat_timeout or a task's timeout or wedged_after with its two
# probes, the grace before a kill, a start; the longest of them is that of a broker's restart.
BACK_SECONDS = 60.0
# See `Limits`; by CONFIG, with a few seconds for a machine that has more to do.
LIMITS = Limits(found=3 + 1 + 3 + 3, replaced=2 + 1 + 5, well=10 + 5, told=5)


class Course(NamedTuple):
    """One run: who is in it, and what has happened so far."""

    service: Launcher
    notify: NotifySocket
    mischief: Mischief
    witness: Witness
    troubles: list[Trouble]
    report: "Report"

    @property
    def what(self) -> str:
        """For whoever reads of a failure."""
        return f"seed {SEED}, {self.mischief.done}"

    @property
    def control(self) -> Path:
        """The control socket."""
        return self.service.runtime_path / "control.sock"

    def strike(self) -> None:
        """One fault, until the service is as before."""
        began = time.monotonic()
        doomed = self.mischief.strike()
        self.come_back(doomed)
        name = self.mischief.done[-1]
        kind, lost = name.split(":")[0], CLIENTS_BACK_SECONDS
        harms, loses = kind in Mischief.HARMS, kind in Mischief.LOSES
        ended = time.monotonic() + (lost if loses else 0)
        self.troubles.append(Trouble(name, began, ended, harms or loses, loses))
        self.report.note("troubles", self.troubles[-1])
        self.report.note_sights(self.sights())
        self.report.note("lies", *map(str, self.lies(since=began - 60)))

    def come_back(self, doomed: Sequence[int] = ()) -> None:
        """Wait until all serve, in the words of the service and to its clients."""
        what, since = self.what, time.monotonic()
        wait_until(partial(self.all_serve, doomed), BACK_SECONDS, what, show=self.show)
        answered = partial(self.witness.all_answered_since, since)
        wait_until(answered, BACK_SECONDS, f"all answer; {what}", show=self.show, interval=0.2)
        ready = partial(ready_is_true, self.notify)
        wait_until(ready, 30, f"READY=1 is told; {what}", interval=0.2)
        assert self.service.status is None, what
        wait_until_buried(self.service)
        wait_until(self.reload_succeeds, BACK_SECONDS, f"a reload; {what}", interval=2)

    def reload_succeeds(self) -> bool:
        """What one has come to whose new worker was killed stays until the next one succeeds."""
        headline = self.show().get("headline", REMARK)
        if REMARK in headline and "reloading" not in headline:
            self.service.signal(signal.SIGHUP)
        return REMARK not in headline

    def all_serve(self, doomed: Sequence[int]) -> bool:
        """As the master tells, with others in the place of those that were doomed."""
        found = self.show()
        workers = found.get("workers", ())
        pids = {worker["pid"] for worker in workers}
        serve = all(worker["state"] == "serving" for worker in workers)
        well = found.get("healthy") or (serve and REMARK in found.get("headline", ""))
        return bool(well) and len(pids) == WORKERS and not pids & set(doomed)

    def show(self) -> dict[str, Any]:
        """What /status says now."""
        return ask(self.control, "/status")

    def sights(self, since: float = 0) -> list[Sight]:
        return [sight for sight in self.witness.sights() if sight.at >= since]

    def lies(self, since: float = 0) -> list[Lie]:
        """Those that were told since then."""
        mischief, every = self.mischief, rules(range(WORKERS), LIMITS)
        struck = mischief.struck
        return lies(self.sights(since), every, mischief.stopped, mischief.deaf, struck)


class Report:
    """Leaves what happens in files, as it happens, where CHAOS_REPORT names a directory."""

    def __init__(self, bus: str) -> None:
        self._directory = Path(REPORT, bus) if REPORT else None
        self._sights = 0
        if self._directory is not None:
            self._directory.mkdir(parents=True, exist_ok=True)

    def note(self, name: str, *facts: object) -> None:
        """A line for each."""
        if self._directory is not None and facts:
            with (self._directory / name).open("a") as file:
                file.writelines(f"{fact}\n" for fact in facts)

    def note_sights(self, sights: Sequence[Sight]) -> None:
        """Those that are new."""
        self.note("sights", *sights[self._sights :])
        self._sights = len(sights)

    def keep(self, path: Path) -> None:
        """A copy of that file."""
        if self._directory is not None and path.exists():
            shutil.copy(path, self._directory)


def ready_is_true(notify: NotifySocket) -> bool:
    """Told once, and again at the end of each reload; never besides."""
    return notify.lines.count("READY=1") == 1 + notify.lines.count("RELOADING=1")


def wait_until_buried(service: Launcher) -> None:
    """The master has waited for all of its dead. At any moment another child may have died."""

    def found() -> list[int]:
        return [
            one.pid for one in all_processes() if one.ppid == service.pid and one.state == ZOMBIE
        ]

    wait_until(lambda: not found(), 5, "the dead are buried", show=found)

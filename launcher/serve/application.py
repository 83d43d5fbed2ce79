"""What the workers run, as master and worker see it: a manager of ours, or a foreign program."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from oslo_config import cfg

from launcher import __version__
from launcher.board.board import Board
from launcher.board.counters import SlotCounters
from launcher.board.slot import Slot


class WorkerService(Protocol):
    """What one worker runs, after the fork. `start` and `stop` are called from two threads."""

    def enter(self, pause: float) -> None:
        """Called once in the main thread, before any other method; runs what has to run there.

        :param pause: seconds that the worker is to wait before it does anything.
        :raises LauncherError: it cannot start.
        :raises BaseException: code of third parties may raise anything.
        """

    def wait_for_stop(self, seconds: float) -> bool:
        """Wait before the start, until a stop comes. Returns whether one came."""

    def skip_start(self) -> None:
        """Note that there is no start, because a stop came first."""

    def start(self) -> None:
        """Start, and prove through the bus that calls reach this worker. Raises as `enter`."""

    def wait(self) -> None:
        """Block while the service serves."""

    def stop(self) -> None:
        """Interrupt the start, or drain."""

    def wake_tasks(self) -> None:
        """Any thread: the states of other workers have changed."""

    def follow_pause(self) -> None:
        """Any thread: take no calls while the board wants a pause of this slot."""

    def late_thread(self) -> int | None:
        """Any thread: the identifier of the thread that makes this worker late, if it is known."""

    def descriptors(self) -> Iterable[int]:
        """Called in a forked child: the descriptors that it must not keep."""

    def sections(self) -> Mapping[str, Callable[[], str]]:
        """The worker's sections of a guru meditation report, by title."""


class Application(Protocol):
    """One a master. Workers inherit it.

    :ivar reports: whether the lead reports the service to the database.
    :ivar sized: whether it says how many workers it wants, if the option `workers` is not given.
    :ivar program: what --program named; "": a manager of ours.
    :ivar version: name and version of the program's package; "": not known, or a manager.
    """

    reports: bool
    sized: bool
    program: str
    version: str

    def prepare(self) -> None:
        """Called in the master, before the first fork: import, check, and log what there is.

        :raises LauncherError: a start cannot succeed.
        """

    def adopt(self, board: Board) -> Sequence[str]:
        """Called in the master: use the configuration that is in force from now on. Returns the
        names of the workers' periodic tasks, by their number. Raises as `prepare`."""

    def check(self, conf: cfg.ConfigOpts) -> bool:
        """Called in the master in a reload: check a new configuration. Returns whether workers
        have to be replaced, whatever has changed in our files. Raises as `prepare`."""

    def scouts(self) -> bool:
        """Called in the master after `prepare`: whether the first worker has to start alone. The
        number of workers may depend on what it finds; see `supervise.operations.scouting`."""

    def follow(self, stopping: Callable[[], bool]) -> None:
        """Called in the master's thread that forks, when the first worker is proven.

        :param stopping: whether a stop has begun.
        """

    def make_service(
        self, board: Board, slot: Slot, counters: SlotCounters, *, anew: bool
    ) -> WorkerService:
        """Called in a worker. Must be quick. Raises as `prepare`.

        :param anew: the worker has read the configuration again.
        """

    def bus_directory(self) -> Path | None:
        """The directory of the embedded bus; None if the service uses another one."""


def title(application: Application, binary: str) -> str:
    """What runs, in which version, for the log and the history. A program has its own version."""
    if not application.program:
        return f"{binary} {__version__}"
    version = f" ({application.version})" if application.version else ""
    return f"{application.program}{version} by compute-launcher {__version__}"

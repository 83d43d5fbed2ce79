"""A foreign program as the application of the workers."""

import gc
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from oslo_config import cfg

from launcher.board.board import Board
from launcher.board.counters import SlotCounters
from launcher.board.slot import Slot
from launcher.config import loader
from launcher.program import early_import, seam, timer_seam
from launcher.program.connecting import Connecting
from launcher.program.files import ProgramFiles
from launcher.program.importing import Imported, warm_up
from launcher.program.remembered import RememberedList
from launcher.program.rpc_servers import RpcServers
from launcher.program.service import ProgramService, Times
from launcher.program.serving import Limits
from launcher.program.timers import Timers
from launcher.rabbit.transport import process_name
from launcher.serve import tracing

LOG = logging.getLogger(__name__)


class ProgramApplication:
    """Implements `serve.application.Application`."""

    reports = False
    sized = True

    def __init__(self, conf: cfg.ConfigOpts, imported: Imported) -> None:
        """:param conf: ours alone; the program never sees it."""
        self.program = imported.program.name
        self.version = imported.program.version
        self._conf = conf
        self._imported = imported
        self._servers = RpcServers(imported.program.name)
        self._connecting = Connecting(imported.program.name)
        self._files = ProgramFiles()
        self._remembered: RememberedList | None = None
        self._scouts = False
        self._timers = Timers()

    def prepare(self) -> None:
        """Have RPC servers and timers of the program observed, from the first one on."""
        seam.observe(self._servers)
        seam.observe_connections(self._connecting)
        timer_seam.observe(self._timers)
        seam.name_queues(process_name(self._imported.script, self._conf.runtime_path))
        tracing.preload(self._conf)
        program = self._imported.program
        self._scouts = not loader.is_given(self._conf, "workers")
        if self._conf.supervision.warm_up:
            self._remembered = RememberedList(self._conf.state_path, program)
            self._scouts |= not warm_up(self._imported, self._remembered.kept())
        known = filter(None, (program.name, program.entry.value, program.version))
        LOG.info("program %s", ", ".join(known))

    def adopt(self, board: Board) -> Sequence[str]:
        """Keep what the program reads, for workers that are forked later."""
        self._files.adopt()
        return board.task_names

    def check(self, conf: cfg.ConfigOpts) -> bool:
        """Have workers replaced in any case: what the program reads may have changed."""
        self._files.begin_reload()
        return True

    def scouts(self) -> bool:
        """Whether the modules that workers need are not known, or how many the program wants."""
        return self._scouts

    def follow(self, stopping: Callable[[], bool]) -> None:
        """Import what the scout has left, and keep the names for later starts."""
        if self._remembered is None or self._remembered.kept():
            return
        left, late = self._remembered.left(), self._imported.late_options
        if names := early_import.try_all(left, late, stopping):
            self._remembered.keep(names)
            warm_up(self._imported, names)
            gc.freeze()  # as before the first fork

    def make_service(
        self, board: Board, slot: Slot, counters: SlotCounters, *, anew: bool
    ) -> ProgramService:
        """Make the service."""
        conf = self._conf
        self._servers.needed = conf.health.proof == "called"
        times = Times(
            start_timeout=conf.start_timeout,
            graceful_shutdown_timeout=conf.graceful_shutdown_timeout,
            warn_after=conf.rpc.warn_after,
            serving=Limits(
                beat_timeout=conf.health.beat_timeout,
                probe_interval=conf.health.probe_interval,
                probe_timeout=conf.health.probe_timeout,
                timer_warn_after=conf.health.timer_warn_after,
                timer_timeout=conf.health.timer_timeout,
            ),
        )
        return ProgramService(
            self._imported,
            (self._servers, self._timers, self._connecting),
            (self._files, self._remembered),
            slot,
            board=board,
            counters=counters,
            anew=anew,
            times=times,
            begin_tracing=partial(
                tracing.begin, conf, self.program, lambda: f"{conf.host}.{slot.number}"
            ),
        )

    def bus_directory(self) -> Path | None:
        """None: the bus is the program's."""
        return None

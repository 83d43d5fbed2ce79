"""A manager of ours as the application of the workers."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_messaging import TransportURL

from launcher.board.board import Board
from launcher.board.counters import SlotCounters
from launcher.board.slot import Slot
from launcher.config import registered
from launcher.config.masking import mask_url, shown_database
from launcher.serve import inherited_transport, loading, manager_checks, tracing
from launcher.serve.manager import Manager
from launcher.serve.service import Service
from launcher.serve.settings import Settings
from launcher.serve.task_list import task_names
from launcher.unixbus.address import directory_of

LOG = logging.getLogger(__name__)


class ManagerApplication:
    """Implements `application.Application`."""

    reports = True
    sized = False
    program = version = ""

    def __init__(self, conf: cfg.ConfigOpts, binary: str) -> None:
        self._conf = conf
        self._binary = binary
        self._manager: type[Manager] | None = None  # of the configuration in force

    def prepare(self) -> None:
        """Import what workers need, and check all that can fail. It leaves no descriptor open.

        :raises LauncherError: says what is wrong, and what to do.
        """
        conf = self._conf
        manager = loading.manager_class(conf.manager, self._binary)
        loading.check_use_of_conductor(conf, manager)
        loading.preload(conf)
        tracing.preload(conf)
        loading.check_bus(conf)
        loading.preload_manager(manager, conf.state_path)
        registered.check(conf)
        if not conf.database.use_conductor:
            from launcher.registry import warmup  # noqa: PLC0415  # imports SQLAlchemy

            warmup.warm_up(conf.database.connection)
        inherited_transport.bequeath(conf)
        Settings.fill_in(conf, manager=manager)  # oslo.config caches the values
        LOG.info("bus %s", mask_url(conf.transport_url))
        LOG.info("database %s", shown_database(conf))

    def adopt(self, board: Board) -> tuple[str, ...]:
        """Find the manager; return the names of its tasks, and of our own."""
        manager = loading.manager_class(self._conf.manager, self._binary)
        for sentence in manager_checks.unknown_spacings(
            manager, self._conf.periodic_tasks.spacing
        ):
            LOG.warning("%s", sentence)
        self._manager = manager
        return tuple(task_names(manager))

    def check(self, conf: cfg.ConfigOpts) -> bool:
        """Check manager and drivers of a new configuration."""
        loading.manager_class(conf.manager, self._binary)
        loading.preload(conf)
        tracing.preload(conf)
        return False

    def scouts(self) -> bool:
        """All workers start at once: the master has what they need."""
        return False

    def follow(self, stopping: Callable[[], bool]) -> None:
        """There is no scout."""

    def make_service(
        self, board: Board, slot: Slot, counters: SlotCounters, *, anew: bool
    ) -> Service:
        """Make the service. A new configuration may name another manager."""
        given: dict[str, Any] = {} if anew else {"manager": self._manager}
        return Service.create(self._conf, board, slot, counters, binary=self._binary, **given)

    def bus_directory(self) -> Path | None:
        """The directory of the unix:// bus, if that is the bus."""
        if not self._conf.transport_url.startswith("unix:"):
            return None
        return Path(directory_of(TransportURL.parse(self._conf)))

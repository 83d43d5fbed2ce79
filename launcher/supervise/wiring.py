"""Makes the parts of the master, package by package."""

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from oslo_config import cfg

from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.serve.application import Application
from launcher.serve.lead import LEAD_LOCK, holders
from launcher.serve.rpc import queues_end_with_consumers
from launcher.serve.tracing import configured
from launcher.supervise.control.guru_reports import Meditation
from launcher.supervise.control.routes import Routes
from launcher.supervise.control.status import Status
from launcher.supervise.operations.canary import Canary
from launcher.supervise.operations.debugging import Debugging
from launcher.supervise.operations.demand import Demand
from launcher.supervise.operations.giving_up import GivingUp
from launcher.supervise.operations.housekeeping import Housekeeping
from launcher.supervise.operations.in_force import Configuration
from launcher.supervise.operations.operation_spans import OperationSpans
from launcher.supervise.operations.pausing import Pausing
from launcher.supervise.operations.recycling import Recycling
from launcher.supervise.operations.reload import Reload
from launcher.supervise.operations.roll import Roll
from launcher.supervise.operations.scaling import Scaling
from launcher.supervise.operations.scouting import Scouting
from launcher.supervise.operations.spares import Spares, wake
from launcher.supervise.operations.stop import Stop
from launcher.supervise.policy import InForce
from launcher.supervise.processes import terminal
from launcher.supervise.processes.deaths import Deaths
from launcher.supervise.processes.forking import ForkingManager
from launcher.supervise.processes.instance_lock import Instance
from launcher.supervise.processes.lives import Lives
from launcher.supervise.processes.orphans import Orphans
from launcher.supervise.processes.shared_heap import SharedHeap
from launcher.supervise.upgrade.parts import MasterParts
from launcher.supervise.upgrade.predecessor import Predecessor
from launcher.supervise.upgrade.succession import Succession
from launcher.supervise.watch.health import Verdict
from launcher.supervise.watch.history import History
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.notify import Notifier
from launcher.supervise.watch.repair import Repair
from launcher.supervise.watch.report_age import ReportAge, outage
from launcher.writing.outlet import STDERR

LOG = logging.getLogger(__name__)


class Parts:
    """Made in the main thread, before the first fork. The master uses the attributes."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        binary: str,
        *,
        notifier: Notifier,
        configuration: Configuration,
        board: Board,
        counters: Counters,
        instance: Instance,
        stop: Stop,
        policy: InForce,
        adopt: Callable[[], object],
        application: Application,
        predecessor: Predecessor | None,
        why_not: str,
    ) -> None:
        """
        :param adopt: called after a reload, when the new configuration is in force.
        :param predecessor: the master that is to be replaced, in an upgrade.
        :param why_not: why there can be no upgrade, or "".
        """
        self._board = board
        self._binary = binary
        self._program = application.program
        self._configuration = configuration
        self.history = History(conf.state_path, held=predecessor is not None)
        stop.record, stop.end_history = self.history.record, self.history.end
        # processes, and the monitor, which uses all of them
        watched = bool(notifier.watchdog_seconds)
        giving_up = GivingUp(stop, binary, lambda: self.monitor, watched=watched)
        lives = Lives(board, policy)
        self._deaths = Deaths(
            *(board, lives, policy),
            binary=binary,
            was_ready=lambda: self.monitor.was_ready,
            give_up=giving_up.give_up,
            record=self.history.record,
        )
        self.forking = ForkingManager(board, giving_up.on_refusal)
        self.orphans = Orphans(self.forking.pids, self.forking.forking, policy)
        self.orphans.become_subreaper()
        self.heap = SharedHeap()
        lead_lock = Path(conf.runtime_path, LEAD_LOCK)
        self.housekeeping = Housekeeping(
            board,
            stop,
            deaths=self._deaths,
            orphans=self.orphans,
            instance=instance,
            report_age=ReportAge(
                lambda: board.reported, partial(holders, lead_lock), partial(outage, board)
            ),
            monitor=lambda: self.monitor,
            conf=conf,
            application=application,
            history=self.history,
            policy=policy,
        )
        self.monitor = Monitor(
            *(board, notifier),
            policy=policy,
            on_ready=self._on_ready,
            on_stuck_start=giving_up.on_stuck_start,
            on_hopeless=giving_up.on_hopeless,
            on_change=self._have_lead_look,
            on_round=self._on_round,
            is_due_soon=self.housekeeping.is_due_soon,
            repair=Repair(self._deaths.accuse),
            delayed=partial(self._deaths.delays, self.forking.refusals),
            generation=lambda: configuration.generation,
        )
        # operations: changes of a running service
        resting = self._deaths.resting
        roll = Roll(
            *(board, self.monitor, self.forking, lives),
            policy=policy,
            resting=resting,
            on_end=OperationSpans(board, partial(configured, conf)).tell,
        )
        record = self.history.record
        canary = Canary(board, counters, self.monitor, lives, policy, record=record)
        self.spares = Spares(board, lives, self.forking, roll, policy)
        self.reload = Reload(
            *(notifier, self.monitor, board, roll, self.spares),
            configuration=configuration,
            adopt=adopt,
            record=record,
        )
        self.scaling = Scaling(board, roll, record)
        recycling = Recycling(board, self.monitor, roll, policy, record=record)
        self.housekeeping.recycle = recycling.look
        demand = Demand(board, counters, self.monitor, self.scaling, policy)
        self.housekeeping.follow_demand = demand.look
        self.scouting = Scouting(
            board, self.forking, policy, application.follow, configuration.workers
        )
        self._pausing = Pausing(
            board,
            self.monitor,
            conf.state_path,
            loses_calls=partial(queues_end_with_consumers, conf),
            record=record,
        )
        self.housekeeping.take_pause_back = self._pausing.look
        debugging = Debugging(board, self.monitor, policy, conf.runtime_path, record)
        self.housekeeping.close_debuggers = debugging.look
        # upgrade: another master takes over, or this one has
        shared = MasterParts(
            *(board, self.monitor, roll, stop, notifier, instance),
            *(self.history, self.forking, policy),
        )
        self.succession = Succession(
            shared,
            conf=conf,
            binary=binary,
            predecessor=predecessor,
            scaling=self.scaling,
            why_not_now=self._pausing.why_not_upgradable,
            why_not=why_not,
        )
        # control: answers to requests
        status = Status(
            board,
            self.monitor,
            self._deaths,
            policy,
            configuration=configuration,
            application=application,
            counters=counters,
            heap=self.heap,
            recycling=recycling,
            pausing=self._pausing,
            scaling=self.scaling,
            demand=demand,
            canary=canary,
        )
        self.meditation = Meditation(board, binary, conf.runtime_path, status.describe)
        self.routes = Routes(
            board,
            counters,
            self.monitor,
            self._deaths,
            binary=binary,
            heap=self.heap,
            status=status,
            recycling=recycling,
            reload=self.reload,
            canary=canary,
            scaling=self.scaling,
            pausing=self._pausing,
            debugging=debugging,
            upgrade=self.succession.upgrade,
            meditation=self.meditation,
            takeovers=lambda: self.spares.takeovers,
            history=self.history,
            policy=policy,
            program=application.version or application.program,
        )

    def on_dead_worker(self, _: object, cell: int, status: int) -> None:
        """Called in cotyledon's supervisor thread, which forks a successor afterwards, or the
        next spare."""
        slot = self._board.cell(cell)
        number, pid = slot.number, slot.get("pid")
        led = number == self._board.lead
        if self._deaths.on_dead_worker(number, status):
            self.spares.take_over(number)
        self.orphans.end_left_by(number, pid)
        self.forking.forget(number)
        self.monitor.hurry(urgent=led)  # another one has to lead then

    def _on_round(self, now: float) -> None:
        """Called in the monitor's thread."""
        self.housekeeping.on_round(now)
        if not self._board.stopping:
            self.spares.look()

    def _on_ready(self, verdict: Verdict) -> None:
        """Called in the monitor's thread."""
        self.housekeeping.on_ready(verdict)
        self.spares.keep()
        if os.isatty(STDERR):
            args = self._configuration.args
            LOG.info("%s", terminal.hint(self._binary, sys.argv[0], args, self._program))

    def _have_lead_look(self, lead: int) -> None:
        """Called in the monitor's thread: have the lead update the numbers in the row."""
        wake(self._board.slot(lead))

"""The start of a service, in nova's order, and its drain.

`StartSequence.walk` is the start. Each step puts its undoing on a stack. The drain closes the
stack, so the last thing started is the first one stopped:

1. The main server takes no more calls. Calls that wait in it go back to the bus.
2. The manager's `graceful_shutdown` waits for its work, for at most `manager_shutdown_timeout`.
3. The main server waits until its calls in hand are answered.
4. The drain waits for tracked work that these calls left behind, until the manager's time is over.
5. The alt server, which only this worker has, takes no more calls. It finishes its calls in hand,
   and the drain waits for tracked work that they left behind.
6. The periodic tasks stop. Reports went on until here, so the host counted as up.
7. The worker leaves the service group. The last one marks the row in the registry as down.
8. The manager's `cleanup_host` undoes `init_host`, and the registry is closed.
9. The worker leaves the bus: on a host without a database, 6 to 8 need it.

Every ten seconds the log says what the drain waits for. If the drain takes longer than
`graceful_shutdown_timeout`, the master kills the worker; the worker does not end it.

The module is long: it is one short method for each step.
"""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from oslo_config import cfg

from launcher.board.board import Board
from launcher.board.counters import SlotCounters
from launcher.board.slot import Slot
from launcher.board.states import Step
from launcher.directories import paths
from launcher.listening.depths import Depths
from launcher.registry.interface import Registry
from launcher.registry.outage import Outage
from launcher.registry.records import ServiceRecord
from launcher.serve import profiling, tracing
from launcher.serve.backdoor import open_backdoor, sockets_at
from launcher.serve.backoff import JUDGED_LATER_SECONDS, Backoff
from launcher.serve.base_rpcapi import BaseRPCAPI
from launcher.serve.bus_wait import BusWait
from launcher.serve.calls_in_hand import Tracker
from launcher.serve.endpoints import identity, make_endpoints
from launcher.serve.hooks import call_hook
from launcher.serve.lead import LEAD_LOCK, Lead
from launcher.serve.main_and_alt_servers import Servers
from launcher.serve.manager import Manager
from launcher.serve.pause import Pause
from launcher.serve.periodics import PeriodicTasks
from launcher.serve.probe import FirstProof, Probe, RepeatedProof
from launcher.serve.rpc_server import Server
from launcher.serve.servicegroup import ServiceGroup
from launcher.serve.settings import Settings
from launcher.serve.spare import Spare
from launcher.serve.task_list import add_manager_tasks, add_own_tasks
from launcher.serve.worker_bus import WorkerBus, answer_seconds

LOG = logging.getLogger(__name__)
T = TypeVar("T")

CONDUCTOR_SECONDS = 2.0  # for one question whether a conductor is there
SILENCE_SECONDS = 9.0  # for a silent database in one try: two connections, and a cancellation


class StartSequence:
    """Made in a worker, after the fork. `walk` is called once, in the thread that starts."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        settings: Settings,
        board: Board,
        slot: Slot,
        counters: SlotCounters,
        *,
        stop: threading.Event,
        hurry: threading.Event,
        console: dict[str, Any],
    ) -> None:
        """
        :param stop: interrupts the walk when it is set.
        :param hurry: when it is set, no locked or silent database is waited for.
        :param console: what the backdoor's console defines, beside `manager`.
        """
        self._conf = conf
        self._settings = settings
        self._board = board
        self._slot = slot
        self._stop = stop
        self._hurry = hurry
        self._console = console
        self._outage = Outage(slot.show_outage)
        self._backoff = Backoff(slot, stop, settings.start_timeout, settings.shown_database)
        self.tracker = Tracker(slot, counters, settings.warn_after)
        self.pause = Pause(board, slot)
        lead = Lead(board, slot, Path(settings.runtime_path, LEAD_LOCK))
        self._worker_bus = WorkerBus(conf)
        self._descriptors = [lead.descriptors, self._worker_bus.descriptors]
        self.tasks = PeriodicTasks(board, slot, lead, settings.timing, counters)
        self._bus = BusWait(settings.transport_url, self._backoff, settings.start_timeout)
        self.spare = Spare(settings, slot, stop, self._worker_bus, board.side)

    def walk(self, undo: ExitStack) -> None:
        """Start, and prove through the bus that calls reach this worker.

        :param undo: gets the undoing of each step, also when a later step fails.
        :raises LauncherError: a step failed, or a stop came.
        :raises BaseException: a manager's hook may raise anything.
        """
        step, begun = self._step, time.monotonic()
        step(Step.CONFIGURATION, self._check_configuration)
        undo.callback(self._worker_bus.leave)
        registry = self._find_registry(undo)
        manager = step(Step.MANAGER, self._make_manager, registry)
        step(Step.INIT_HOST, self._init_host, undo, manager, registry)
        group = ServiceGroup.of(self._settings, registry, self._board, self._slot)
        row = step(Step.SERVICE_ROW, self._backoff.ask_database, group.register)
        step(Step.PRE_START_HOOK, self._prepare_host, manager, row)
        self._leave_when_stopped(undo, group)
        if self.spare.wanted:
            step(Step.SPARE, self._wait_as_spare, undo, manager)
            begun = time.monotonic()
        servers = step(Step.RPC_SERVER, self._start_main_server, undo, manager)
        step(Step.ALT_SERVER, self._bus.listen, servers.alt)
        step(Step.POST_START_HOOK, self._finish_host, manager)
        step(Step.SERVICE_GROUP, group.join)
        probe = step(Step.PERIODIC_TASKS, self._start_tasks, manager, group, servers)
        step(Step.PROBE, self._prove, probe)
        self._slot.serve(*self.tasks.deadline())
        self.spare.end()
        LOG.info("serving after %.2f s", time.monotonic() - begun)

    def descriptors(self) -> list[int]:
        """Called in a child that the manager's code has forked: the worker's descriptors, which
        the child must not keep."""
        return [number for found in self._descriptors for number in found()]

    def _step(self, step: Step, action: Callable[..., T], *args: Any) -> T:
        self._backoff.check()
        self._slot.begin(step, self._settings.start_timeout + JUDGED_LATER_SECONDS)
        LOG.debug("%s", step.label)
        return action(*args)

    def _check_configuration(self) -> None:
        """Check the directories again: they may have changed since the master checked them."""
        paths.prepare("state_path", Path(self._settings.state_path))
        paths.prepare("runtime_path", Path(self._settings.runtime_path))
        paths.prepare_temporary()
        profiling.setup(self._conf, self._settings.binary, self._settings.host)
        tracing.begin(self._conf, self._settings.binary, self._instance)

    def _instance(self) -> str:
        return f"{self._settings.host}.{self._slot.number}"

    def _find_registry(self, undo: ExitStack) -> Registry:
        if self._settings.use_conductor:
            return self._step(Step.CONDUCTOR, self._wait_for_conductor, undo)
        return self._step(Step.DATABASE, self._open_registry, undo)

    def _wait_for_conductor(self, undo: ExitStack) -> Registry:
        timeout, why = self._settings.start_timeout, self._bus.trouble
        registry = self._worker_bus.registry(timeout, why, self._outage)
        host = self._backoff.ask_database(partial(registry.check, CONDUCTOR_SECONDS))
        LOG.debug("a conductor answers, on %s", host)
        undo.callback(registry.close)
        return registry

    def _open_registry(self, undo: ExitStack) -> Registry:
        from launcher.registry.engine import open_registry  # noqa: PLC0415  # imports SQLAlchemy

        connect = partial(open_registry, self._settings.connection, self._hurry, self._outage)
        registry = self._backoff.ask_database(connect)
        undo.callback(registry.close)
        self._descriptors.append(registry.descriptors)
        return registry

    def _make_manager(self, registry: Registry) -> Manager:
        slot, track = self._slot.number, self.tracker.track
        context = self._settings.manager_context(self._conf, slot, registry, track)
        return self._settings.manager(context)

    def _init_host(self, undo: ExitStack, manager: Manager, registry: Registry) -> None:
        own = self._settings.host, self._settings.binary
        row = self._backoff.ask_database(partial(registry.get_service, *own))
        undo.callback(manager.cleanup_host)
        call_hook(manager.init_host, row, name=Step.INIT_HOST.label)

    def _prepare_host(self, manager: Manager, row: ServiceRecord) -> None:
        hook = partial(call_hook, manager.pre_start_hook, row, name=Step.PRE_START_HOOK.label)
        asks, timeout = self._settings.use_conductor, self._settings.start_timeout
        self._backoff.retry(hook, answer_seconds(timeout) if asks else SILENCE_SECONDS)

    def _leave_when_stopped(self, undo: ExitStack, group: ServiceGroup) -> None:
        """Undone after the servers: reports go on until the end of a drain."""
        undo.callback(group.leave)
        undo.callback(self.tasks.stop)
        undo.callback(self._hurry.set)

    def _wait_as_spare(self, undo: ExitStack, manager: Manager) -> None:
        server = self.spare.start(undo, self._bus)
        probe, prove = self._make_probe(server, 1, server.verify)
        self._prove(probe)
        try:
            self.spare.wait(manager, prove)
        finally:
            probe.end()

    def _start_main_server(self, undo: ExitStack, manager: Manager) -> Servers:
        """The undoing is steps 1 to 5 of the drain, the last of them first."""
        servers = self._worker_bus.make_servers(
            *(self._settings, self._slot.number, self._endpoints(manager)),
            self.tracker.counters.count_redelivery,
            last_tries=self._board.last_tries,
            side=self._board.side,
        )
        undo.callback(servers.wait_for_background, self.tracker)  # left by calls of `alt`
        undo.callback(servers.alt.finish)
        undo.callback(servers.wait_for_background, self.tracker)  # left by calls of `main`
        undo.callback(servers.main.finish)
        undo.callback(servers.shut_down, servers.await_shutdown(manager))
        undo.callback(servers.main.stop_taking)
        self._slot.put("call_threads", servers.threads)
        self.pause.start(servers.main, self._bus.listen)
        return servers

    def _endpoints(self, manager: Manager) -> list[object]:
        settings, slot = self._settings, self._slot.number
        console = self._open_backdoor(manager) if settings.backdoor else None
        base_api = BaseRPCAPI(identity(settings, slot, self._board.side), console)
        return make_endpoints(self._conf, manager, self.tracker, base_api)

    def _open_backdoor(self, manager: Manager) -> str:
        names = {**self._console, "manager": manager}
        own = self._settings.runtime_path, self._slot.number
        path = open_backdoor(*own, names, self._board.side)
        self._descriptors.append(partial(sockets_at, path))
        return path

    def _finish_host(self, manager: Manager) -> None:
        call_hook(manager.post_start_hook, name=Step.POST_START_HOOK.label)

    def _start_tasks(self, manager: Manager, group: ServiceGroup, servers: Servers) -> Probe:
        depths = servers.main.depths
        probe, prove = self._make_probe(servers.alt, servers.threads, servers.verify, depths)
        add_own_tasks(self.tasks, self._settings, prove, group)
        if self._settings.timing.enabled:
            add_manager_tasks(self.tasks, manager)
        self.tasks.start()
        return probe

    def _make_probe(
        self,
        server: Server,
        threads: int,
        verify: Callable[[float], None],
        depths: Callable[[], Depths | None] = lambda: None,
    ) -> tuple[Probe, Callable[[], None]]:
        """The probe of a server that this worker alone has, and its repetition."""
        given = self._slot, self.tracker, self._stop, threads, self._bus.why
        proof = RepeatedProof(*given, depths=depths)
        transport, timeout = server.transport_to_itself, self._settings.probe_timeout
        probe = Probe(transport, server.target, timeout, proof.note, verify)
        return probe, partial(proof.prove, probe)

    def _prove(self, probe: Probe) -> None:
        """Call this worker through the bus until it answers, or the step's time is over."""
        proof = FirstProof(probe, self._stop)
        proof.begin()
        self._bus.wait_for(proof.given, lambda: proof.problem)
        proof.check()

"""The service that a worker runs: its start sequence, in nova's order, and its drain."""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import oslo_messaging
from oslo_config import cfg
from oslo_context import context as oslo_context

from launcher import __version__, paths
from launcher.board import Board
from launcher.counters import SlotCounters
from launcher.errors import BusUnavailable, NoAnswer, one_line
from launcher.masking import mask_url
from launcher.registry.engine import open_registry
from launcher.registry.interface import Registry
from launcher.registry.records import ServiceRecord
from launcher.serve import profiling, rpc
from launcher.serve.backdoor import open_backdoor
from launcher.serve.lead import Lead
from launcher.serve.manager import Manager, ManagerContext, TaskSpec
from launcher.serve.patience import Patience
from launcher.serve.periodics import PeriodicTasks
from launcher.serve.probe import Probe
from launcher.serve.server import Server
from launcher.serve.servers import Servers, identity
from launcher.serve.servicegroup import ServiceGroup
from launcher.serve.settings import Settings
from launcher.serve.tracking import Reminder, TrackedEndpoint, Tracker, describe
from launcher.slot import Slot
from launcher.states import Step

LOG = logging.getLogger(__name__)
T = TypeVar("T")

BUILTIN_TASKS = ("probe", "report")
LEAD_LOCK = "lead.lock"
JUDGED_LATER_SECONDS = 2.0  # a worker that waits in vain says so itself, before the master does


class Service:
    """Made in a worker, after the fork. `start` and `stop` are called from two threads; what may
    be still unset when a step fails is undone all the same, since undoing asks first."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        settings: Settings,
        board: Board,
        slot: Slot,
        counters: SlotCounters,
    ) -> None:
        self._conf = conf
        self._settings = settings
        self._board = board
        self._slot = slot
        self._stop = threading.Event()
        self._start_ended = threading.Event()
        self._patience = Patience(slot, self._stop, settings.start_timeout)
        self._tracker = Tracker(slot, counters)
        lead = Lead(board, slot.number, Path(settings.runtime_path, LEAD_LOCK))
        self._tasks = PeriodicTasks(board, slot, lead, settings.timing, counters)
        self._undo = ExitStack()

    @classmethod
    def create(
        cls, conf: cfg.ConfigOpts, board: Board, slot: Slot, counters: SlotCounters, **given: Any
    ) -> Self:
        """A service; what is not given of host, binary, topic, manager, report_interval,
        periodic_enable, periodic_fuzzy_delay and periodic_interval_max comes from the
        configuration, topic and manager from the binary's name.

        :raises ManagerNotFound: no such manager class.
        """
        return cls(conf, Settings.fill_in(conf, **given), board, slot, counters)

    def start(self) -> None:
        """Walk the start sequence; what was done is undone when a step fails or a stop comes.

        :raises LauncherError: with the exit status that the worker is to end with; a manager's
            hook may raise anything.
        """
        try:
            with ExitStack() as undo:
                self._walk(undo)
                self._undo = undo.pop_all()
        finally:
            self._start_ended.set()

    def _walk(self, undo: ExitStack) -> None:
        step = self._step
        step(Step.CONFIGURATION, self._check_configuration)
        registry = step(Step.DATABASE, self._open_registry, undo)
        manager = step(Step.MANAGER, self._make_manager, registry)
        step(Step.INIT_HOST, self._init_host, undo, manager, registry)
        row = step(Step.SERVICE_ROW, self._register, registry)
        step(Step.PRE_START_HOOK, self._patience.retry, partial(manager.pre_start_hook, row))
        group = self._prepare_group(undo, registry)
        servers = step(Step.RPC_SERVER, self._start_main_server, undo, manager)
        step(Step.ALT_SERVER, self._listen, servers.alt)
        step(Step.POST_START_HOOK, manager.post_start_hook)
        step(Step.SERVICE_GROUP, group.join)
        probe = step(Step.PERIODIC_TASKS, self._start_tasks, manager, group, servers)
        step(Step.PROBE, self._prove, probe)
        self._slot.serve(*self._tasks.deadline())
        LOG.info("serving")

    def wait(self) -> None:
        """Block while the service serves; raises what its periodic loop died of."""
        self._tasks.wait()

    def wait_for_stop(self, seconds: float) -> bool:
        """Wait before the start, unless a stop comes; returns whether one did."""
        return self._stop.wait(seconds)

    def skip_start(self) -> None:
        """There is to be no start, since a stop came first."""
        self._start_ended.set()

    def stop(self) -> None:
        """Interrupt a start, or drain: no new calls, calls in hand finished, in nova's order."""
        self._stop.set()
        self._start_ended.wait()
        LOG.info("stopping; %s", describe(self._tracker.in_hand()))
        self._slot.drain(self._settings.graceful_shutdown_timeout)
        with Reminder(self._tracker):
            self._undo.close()
        self._slot.put("left", 1)
        LOG.info("stopped")

    def sections(self) -> dict[str, Callable[[], str]]:
        """Of a guru meditation report, by title."""
        return {
            "Board": lambda: "\n".join(
                f"{name} = {value}" for name, value in self._slot.view()._asdict().items()
            ),
            "Periodic tasks": self._tasks.describe,
            "Calls in hand": lambda: "\n".join(map(str, self._tracker.in_hand())) or "none",
        }

    def _step(self, step: Step, action: Callable[..., T], *args: Any) -> T:
        self._patience.check()
        self._slot.begin(step, self._settings.start_timeout + JUDGED_LATER_SECONDS)
        LOG.info("%s", step.label)
        return action(*args)

    def _check_configuration(self) -> None:
        """Directories may have changed since the master looked."""
        paths.prepare("state_path", Path(self._settings.state_path))
        paths.prepare("runtime_path", Path(self._settings.runtime_path))
        paths.prepare_temporary()
        profiling.setup(self._conf, self._settings.binary, self._settings.host)

    def _open_registry(self, undo: ExitStack) -> Registry:
        registry = self._patience.retry(partial(open_registry, self._settings.connection))
        undo.callback(registry.close)
        return registry

    def _make_manager(self, registry: Registry) -> Manager:
        settings = self._settings
        context = ManagerContext(
            host=settings.host,
            binary=settings.binary,
            topic=settings.topic,
            slot=self._slot.number,
            state_path=settings.state_path,
            registry=registry,
            conf=self._conf,
            track=self._tracker.track,
        )
        return settings.manager(context)

    def _init_host(self, undo: ExitStack, manager: Manager, registry: Registry) -> None:
        row = self._patience.retry(
            partial(registry.get_service, self._settings.host, self._settings.binary)
        )
        undo.callback(manager.cleanup_host)
        manager.init_host(row)

    def _register(self, registry: Registry) -> ServiceRecord:
        return self._patience.retry(partial(self._register_once, registry))

    def _register_once(self, registry: Registry) -> ServiceRecord:
        return registry.register_service(
            self._settings.host,
            self._settings.binary,
            topic=self._settings.topic,
            version=__version__,
            workers=self._board.workers,
        )

    def _prepare_group(self, undo: ExitStack, registry: Registry) -> ServiceGroup:
        """Undone after the servers: reports go on until the end of a drain."""
        host, binary = self._settings.host, self._settings.binary
        register = partial(self._register_once, registry)
        group = ServiceGroup(
            registry, self._board, self._slot.number, host, binary, register=register
        )
        undo.callback(group.leave)
        undo.callback(self._tasks.stop)
        return group

    def _start_main_server(self, undo: ExitStack, manager: Manager) -> Servers:
        """Undone in nova's drain: the main server takes no more calls, the manager waits for its
        work, the main server for its calls; the alt server goes last."""
        settings, slot = self._settings, self._slot.number
        transport = rpc.get_transport(self._conf)
        redelivered = self._tracker.counters.count_redelivery
        servers = Servers(transport, settings, slot, self._endpoints(manager), redelivered)
        undo.callback(servers.leave_bus)
        undo.callback(servers.wait_for_background, self._tracker)  # of the last calls
        undo.callback(servers.alt.finish)
        undo.callback(servers.wait_for_background, self._tracker)
        undo.callback(servers.main.finish)
        undo.callback(servers.shut_down, manager)
        undo.callback(servers.main.stop_taking)
        self._slot.put("call_threads", servers.threads)
        self._listen(servers.main)
        return servers

    def _listen(self, server: Server) -> None:
        try:
            server.start(self._wait_for_bus)
        except oslo_messaging.MessagingException as error:
            url = mask_url(self._settings.transport_url)
            raise BusUnavailable(url=url, reason=mask_url(one_line(error))) from error

    def _endpoints(self, manager: Manager) -> list[object]:
        """What clients can call: the manager, its additional endpoints, the base API."""
        settings, slot = self._settings, self._slot.number
        socket = None
        if settings.backdoor:
            names = {"service": self, "manager": manager}
            socket = open_backdoor(settings.runtime_path, slot, names)
        own = [manager, *manager.additional_endpoints]
        traced = [profiling.traced(self._conf, endpoint) for endpoint in own]
        tracked = [TrackedEndpoint(endpoint, self._tracker) for endpoint in traced]
        return [*tracked, rpc.BaseRPCAPI(identity(settings, slot), socket)]

    def _wait_for_bus(self, event: threading.Event) -> None:
        url = mask_url(self._settings.transport_url)
        if not self._patience.wait_for(event, f"the bus at {url}"):
            raise BusUnavailable(
                url=url, reason=f"no answer within {self._settings.start_timeout:g} s"
            )

    def _start_tasks(self, manager: Manager, group: ServiceGroup, servers: Servers) -> Probe:
        probe = Probe(
            servers.transport,
            servers.own_target,
            self._settings.probe_timeout,
            partial(self._note_probe, servers.threads),
        )
        self._add_builtin_tasks(probe, group)
        if self._settings.timing.enabled:
            for number, (method, spec) in enumerate(manager.periodic_tasks(), len(BUILTIN_TASKS)):
                self._tasks.add(number, spec, partial(_call_task, getattr(manager, method)))
        self._tasks.start()
        return probe

    def _note_probe(self, threads: int, *, succeeded: bool) -> None:
        """One that found all threads taken says nothing: it waits with the other calls."""
        if succeeded or len(self._tracker.in_hand()) < threads:
            self._slot.note_probe(succeeded=succeeded)
        else:
            self._slot.forgive_probe()

    def _add_builtin_tasks(self, probe: Probe, group: ServiceGroup) -> None:
        """Numbered as in BUILTIN_TASKS."""
        settings, interval = self._settings, self._settings.report_interval
        patience = 3 * settings.probe_timeout + settings.timing.beat_timeout
        prove = TaskSpec("probe", settings.probe_interval, False, patience, "worker")
        report = TaskSpec("report", interval, True, max(60, 6 * interval), "host")
        self._tasks.add_builtin(0, prove, probe, retry=settings.probe_timeout)
        self._tasks.add_builtin(1, report, group.report, hurry=group.stale)

    def _prove(self, probe: Probe) -> None:
        """Call ourselves through the bus until it answers, or the step's time is over."""
        proven = threading.Event()

        def prove() -> None:
            while not self._stop.is_set() and not proven.is_set():
                try:
                    probe()
                    proven.set()
                except NoAnswer as error:
                    LOG.warning("%s", error)

        threading.Thread(target=prove, name="prove", daemon=True).start()
        self._wait_for_bus(proven)


def task_names(manager: type[Manager]) -> list[str]:
    """All tasks of a worker, by their number; called in the master, for the monitor's words."""
    return [*BUILTIN_TASKS, *(spec.name for _, spec in manager.periodic_tasks())]


def _call_task(method: Callable[[Any], object]) -> object:
    return method(oslo_context.get_current())

"""The routes of the control socket and of the TCP ports."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from launcher import __version__
from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.errors import (
    ServiceStopping,
    ServiceUpgraded,
    UpgradeRuns,
    WrongNumber,
)
from launcher.supervise.control.guru_reports import Meditation
from launcher.supervise.control.health_checks import FAIL, PASS, examine
from launcher.supervise.control.requests import Answer, RouteTable, SlowRequest
from launcher.supervise.control.status import Status
from launcher.supervise.operations.canary import Canary
from launcher.supervise.operations.debugging import Debugging
from launcher.supervise.operations.pausing import Pausing
from launcher.supervise.operations.recycling import Recycling
from launcher.supervise.operations.reload import Reload
from launcher.supervise.operations.scaling import Scaling
from launcher.supervise.policy import InForce
from launcher.supervise.processes.deaths import Deaths
from launcher.supervise.processes.shared_heap import SharedHeap
from launcher.supervise.upgrade.upgrade import Upgrade
from launcher.supervise.watch import probes
from launcher.supervise.watch.history import History
from launcher.supervise.watch.monitor import Monitor
from launcher.supervise.watch.observation import Observation

HEALTH_TYPE = "application/health+json"


class Routes:
    """Handlers, called in threads of the control socket.

    A GET is answered from memory; status also reads /proc. A command is answered when it is
    done, or with the LauncherError for which it failed.
    """

    def __init__(
        self,
        board: Board,
        counters: Counters,
        monitor: Monitor,
        deaths: Deaths,
        *,
        binary: str,
        heap: SharedHeap,
        status: Status,
        reload: Reload,
        canary: Canary,
        scaling: Scaling,
        recycling: Recycling,
        pausing: Pausing,
        debugging: Debugging,
        upgrade: Upgrade,
        meditation: Meditation,
        takeovers: Callable[[], int],
        history: History,
        policy: InForce,
        program: str,
    ) -> None:
        """:param program: what it is and which version, if a foreign program runs."""
        self._program = program
        self._board = board
        self._counters = counters
        self._monitor = monitor
        self._deaths = deaths
        self._binary = binary
        self._heap = heap
        self._status = status
        self._reload = reload
        self._canary = canary
        self._scaling = scaling
        self._recycling = recycling
        self._pausing = pausing
        self._debugging = debugging
        self._upgrade = upgrade
        self._meditation = meditation
        self._takeovers = takeovers
        self._history = history
        self._policy = policy

    def routes(self) -> RouteTable:
        """Routes of the control socket."""
        return {
            ("GET", "/status"): self._tell_status,
            ("GET", "/history"): self._tell_history,
            ("GET", "/health"): self._tell_health,
            ("POST", "/reload"): self._have_reloaded,
            ("POST", "/upgrade"): self._have_upgraded,
            ("POST", "/scale"): self._have_scaled,
            ("POST", "/pause"): self._have_paused,
            ("POST", "/resume"): self._have_resumed,
            ("POST", r"/workers/(\d{1,4})/restart"): self._have_replaced,
            ("POST", r"/workers/(\d{1,4})/debug"): self._have_debugged,
            ("GET", r"/workers/(\d{1,4})/report"): SlowRequest(self._tell_report),
            **self.metrics_routes(),
            **self.probe_routes(),
        }

    def metrics_routes(self) -> RouteTable:
        """Routes of the metrics port, which anybody may use."""
        return {("GET", "/metrics"): self._tell_metrics}

    def probe_routes(self) -> RouteTable:
        """Routes of the port for probes, which anybody may use."""
        return {
            ("GET", "/livez"): partial(self._tell_probe, probes.live),
            ("GET", "/startupz"): partial(self._tell_probe, probes.started),
            ("GET", "/readyz"): partial(self._tell_probe, self._judge_readiness),
        }

    def _observed(self) -> Observation:
        """What the monitor saw a moment ago: it looks rarely while all is well."""
        self._monitor.refresh()
        return self._monitor.observation

    def _tell_status(self, body: dict[str, Any]) -> Answer:
        self._monitor.refresh()
        return Answer.of(self._status.describe())

    def _tell_history(self, query: dict[str, Any]) -> Answer:
        after = query.get("after", "0")
        if not after.isdecimal():
            raise WrongNumber(what="after", value=after, wanted="the number of an event")
        return Answer.of({"events": self._history.after(int(after))})

    def _tell_health(self, body: dict[str, Any]) -> Answer:
        found = examine(
            self._observed(),
            service=self._binary,
            version=__version__,
            probe_ttl=self._policy().probe_interval,
            tasks=self._policy().tasks,
            recent_deaths=self._deaths.recent(),
        )
        status = 503 if found["status"] == FAIL else 200
        return Answer.of(found, status, HEALTH_TYPE)

    def _tell_probe(
        self, judge: Callable[[Observation, int], Sequence[probes.Check]], query: dict[str, Any]
    ) -> Answer:
        checks = judge(self._observed(), time.monotonic_ns())
        problems = dict.fromkeys(check.problem for check in checks if check.problem)
        found: dict[str, Any] = {
            "status": FAIL if problems else PASS,
            "output": "; ".join(problems) or self._monitor.summary,
        }
        if "verbose" in query:
            found["checks"] = {
                check.name: {"status": FAIL, "output": check.problem}
                if check.problem
                else {"status": PASS}
                for check in checks
            }
        return Answer.of(found, 503 if problems else 200, HEALTH_TYPE)

    def _judge_readiness(self, seen: Observation, now: int) -> list[probes.Check]:
        limit = self._policy().proof_limit
        return probes.ready(seen, now, stopping=self._board.stopping, proof_limit=limit)

    def _tell_metrics(self, body: dict[str, Any]) -> Answer:
        from launcher.supervise.control import metrics  # noqa: PLC0415  # only when they are asked for

        facts = metrics.Facts(
            binary=self._binary,
            seen=self._observed(),
            counted=self._counters.read(),
            restarts=dict(self._deaths.restarts_by_kind),
            recycled=self._recycling.counts.copy(),
            lead_changes=self._monitor.lead_changes,
            takeovers=self._takeovers(),
            upgrades=self._upgrade.counts.copy(),
            ready_seconds=self._monitor.ready_seconds,
            tasks=self._policy().tasks,
            program=self._program,
            immortal_objects=self._heap.immortal,
        )
        text, content_type = metrics.expose(facts)
        return Answer(text, content_type=content_type)

    def _tell_report(self, body: dict[str, Any], slot: str) -> Answer:
        return Answer.of({"report": self._meditation.of_worker(int(slot))})

    def _have_reloaded(self, body: dict[str, Any]) -> Answer:
        wanted = body.get("canary")
        trial = None if wanted is None else self._canary.trial(wanted, body.get("slots"))
        with self._unless_upgraded():
            if error := self._reload.request(trial).result():
                raise error
        verdict = trial.verdict.text if trial and trial.verdict else None
        return Answer.of({"result": "reloaded", "verdict": verdict})

    @contextmanager
    def _unless_upgraded(self) -> Iterator[None]:
        """An operation that waited for an upgrade finds that this master stops."""
        try:
            yield
        except ServiceStopping as error:
            if self._upgrade.is_done:
                raise ServiceUpgraded from error
            raise

    def _have_upgraded(self, body: dict[str, Any]) -> Answer:
        found = self._upgrade.request().result()
        return Answer.of({"result": "upgraded", "pid": found.pid, "version": found.version})

    def _have_scaled(self, body: dict[str, Any]) -> Answer:
        with self._unless_upgraded():
            self._scaling.scale(body.get("workers"))
        return Answer.of({"result": "scaled", "workers": self._board.workers})

    def _have_paused(self, body: dict[str, Any]) -> Answer:
        if self._upgrade.running:  # the workers of the new master would not know of it
            raise UpgradeRuns
        persist = body.get("persist") is True
        paused = self._pausing.pause(body.get("slot"), body.get("reason"), persist=persist)
        return Answer.of({"result": "paused", "paused": paused})

    def _have_resumed(self, body: dict[str, Any]) -> Answer:
        return Answer.of({"result": "resumed", "paused": self._pausing.resume(body.get("slot"))})

    def _have_replaced(self, body: dict[str, Any], slot: str) -> Answer:
        with self._unless_upgraded():
            self._scaling.restart(int(slot))
        pid = self._board.slot(int(slot)).get("pid")
        return Answer.of({"result": "replaced", "pid": pid})

    def _have_debugged(self, body: dict[str, Any], slot: str) -> Answer:
        if body.get("off") is True:
            self._debugging.close(int(slot))
            return Answer.of({"result": "closed"})
        return Answer.of(
            {"result": "open", **self._debugging.open(int(slot), body.get("seconds"))}
        )

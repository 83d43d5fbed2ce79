"""What a master does for upgrades in its life: it may follow one, and another may follow it."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from signal import Signals
from typing import Any, Protocol

from oslo_config import cfg

from launcher.errors import NotUpgradable, NotUpgradableNow
from launcher.supervise.operations.scaling import Scaling
from launcher.supervise.processes.signals import Handler, follow
from launcher.supervise.upgrade.parts import Adopting, Listening, MasterParts
from launcher.supervise.upgrade.predecessor import Predecessor
from launcher.supervise.upgrade.takeover import Takeover
from launcher.supervise.upgrade.upgrade import Upgrade, Upgraded

LOG = logging.getLogger(__name__)

CHANGES = frozenset({Signals.SIGHUP, Signals.SIGTTIN, Signals.SIGTTOU})


class Server(Listening, Adopting, Protocol):
    """An HTTP server of a master, which may be both."""


class Succession:
    """One a master. Called in the main thread, unless a method says otherwise.

    :ivar takeover: of the one before; None: this one was not started for an upgrade.
    :ivar upgrade: to the next one.
    """

    def __init__(
        self,
        parts: MasterParts,
        *,
        conf: cfg.ConfigOpts,
        binary: str,
        predecessor: Predecessor | None,
        scaling: Scaling,
        why_not_now: Callable[[], str],
        why_not: str,
    ) -> None:
        """Called before the first fork.

        :param why_not_now: why there can be none before a resume, or "".
        :param why_not: why there can be no upgrade, or "".
        """
        self._why_not_now, self._why_not = why_not_now, why_not
        self.takeover = Takeover(predecessor, parts) if predecessor else None
        scaling.held = bool(predecessor and predecessor.holds(conf.workers))
        self.upgrade = Upgrade(
            parts,
            facts=lambda: hello(conf, binary) | {"held": scaling.held},
            check=self._check,
            first=predecessor.first if predecessor else None,
            counts=predecessor.counts if predecessor else {"done": 0, "failed": 0},
        )

    def begin(self, servers: Sequence[Server]) -> None:
        """Answer requests, or have the servers adopt the sockets of the master before."""
        self.upgrade.servers = servers
        if self.takeover is None:
            for server in servers:
                server.start()
            return
        self.takeover.servers = servers
        threading.Thread(target=self.takeover.run, name="takeover", daemon=True).start()

    def handed_on(self, handlers: Mapping[Signals, Handler]) -> dict[Signals, Handler]:
        """Return handlers of signals that hand them on when this process only stays. What changes
        the service waits for the end of an upgrade: it is for the master in charge then."""

        def wrapped(handler: Handler) -> Handler:
            def handle(number: Signals) -> None:
                if first := self.upgrade.first_process:
                    first.hand_on(number)
                elif number in CHANGES and (running := self.upgrade.running):
                    LOG.info("%s: when the upgrade is over", number.name)
                    running.add_done_callback(partial(decided, number))
                else:
                    handler(number)

            def decided(number: Signals, outcome: Future[Upgraded]) -> None:
                if outcome.exception():
                    handler(number)
                else:
                    self.upgrade.hand_on(number)

            return handle

        found = {number: wrapped(handler) for number, handler in handlers.items()}
        if self.takeover:
            self.takeover.on_signal = {one: partial(follow, found, one) for one in CHANGES}
        return found

    def end(self, hurried: Callable[[], bool]) -> None:
        """Called at the end of a stop: wait for the other masters.

        :param hurried: whether all is to end at once.
        """
        self.upgrade.finish()
        if self.takeover:
            self.takeover.wait_for_predecessor(hurried)

    def _check(self) -> None:
        """Raise NotUpgradable or NotUpgradableNow if there can be no upgrade. Any thread."""
        if self._why_not:
            raise NotUpgradable(reason=self._why_not)
        if reason := self._why_not_now():
            raise NotUpgradableNow(reason=reason)
        if self.takeover and not self.takeover.predecessor_gone:
            reason = "the master before this one still drains its workers; try again later"
            raise NotUpgradableNow(reason=reason)


def hello(conf: cfg.ConfigOpts, binary: str) -> dict[str, Any]:
    """What an upgrade cannot change, and the configured number of workers, which it can."""
    return {**unchangeable(conf, binary), "configured": conf.workers}


def unchangeable(conf: cfg.ConfigOpts, binary: str) -> dict[str, str]:
    """What an upgrade cannot change."""
    names = ("host", "state_path", "runtime_path")
    return {**{name: str(conf[name]) for name in names}, "binary": binary}

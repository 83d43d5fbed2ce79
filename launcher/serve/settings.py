"""The settings of a service: plain values, read from the configuration once."""

from collections.abc import Callable
from typing import Any, NamedTuple, Self

from oslo_config import cfg

from launcher.config.masking import shown_database
from launcher.registry.interface import Registry
from launcher.serve import loading
from launcher.serve.manager import Manager, ManagerContext, Track
from launcher.serve.task import Timing

GIVEN = {
    "host",
    "binary",
    "topic",
    "manager",
    "report_interval",
    "periodic_enable",
    "periodic_fuzzy_delay",
    "periodic_interval_max",
}


class Settings(NamedTuple):
    """Times in seconds."""

    host: str
    binary: str
    topic: str
    manager: type[Manager]
    report_interval: float
    service_down_time: float
    timing: Timing
    start_timeout: float
    graceful_shutdown_timeout: float
    manager_shutdown_timeout: float
    probe_interval: float
    probe_timeout: float
    runtime_path: str
    state_path: str
    transport_url: str
    connection: str
    use_conductor: bool
    shown_database: str
    backdoor: bool
    warn_after: float

    @classmethod
    def fill_in(cls, conf: cfg.ConfigOpts, **given: Any) -> Self:
        """Make the settings from `given`. The configuration sets the names that are missing in it
        or None.

        :raises ManagerNotFound: there is no such manager class.
        :raises TypeError: `given` has a name that is not in GIVEN.
        """
        if unknown := given.keys() - GIVEN:
            raise TypeError(f"a service has no {', '.join(sorted(unknown))}")
        said = {name: value for name, value in given.items() if value is not None}

        def take(name: str, default: Callable[[], Any] | None = None) -> Any:
            if name in said:
                return said[name]
            return default() if default else conf[name]

        binary = take("binary", lambda: conf.prog)
        manager = take("manager")
        if not isinstance(manager, type):
            manager = loading.manager_class(manager, binary)
        return cls(
            host=take("host"),
            binary=binary,
            topic=take("topic", lambda: loading.default_topic(binary)),
            manager=manager,
            report_interval=take("report_interval"),
            service_down_time=conf.service_down_time,
            timing=Timing(
                enabled=take("periodic_enable"),
                fuzzy_delay=take("periodic_fuzzy_delay"),
                interval_max=take("periodic_interval_max"),
                beat_timeout=conf.health.beat_timeout,
                spacing={name: float(text) for name, text in conf.periodic_tasks.spacing.items()},
            ),
            start_timeout=conf.start_timeout,
            graceful_shutdown_timeout=conf.graceful_shutdown_timeout,
            manager_shutdown_timeout=_within(
                conf.manager_shutdown_timeout, conf.graceful_shutdown_timeout
            ),
            probe_interval=conf.health.probe_interval,
            probe_timeout=conf.health.probe_timeout,
            runtime_path=conf.runtime_path,
            state_path=conf.state_path,
            transport_url=conf.transport_url,
            connection=conf.database.connection,
            use_conductor=conf.database.use_conductor,
            shown_database=shown_database(conf),
            backdoor=conf.backdoor,
            warn_after=conf.rpc.warn_after,
        )

    def manager_context(
        self, conf: cfg.ConfigOpts, slot: int, registry: Registry, track: Track
    ) -> ManagerContext:
        """The argument of the manager's constructor."""
        return ManagerContext(
            host=self.host,
            binary=self.binary,
            topic=self.topic,
            slot=slot,
            state_path=self.state_path,
            registry=registry,
            conf=conf,
            track=track,
        )


def _within(manager_timeout: float, whole: float) -> float:
    """The manager's timeout, limited to that of the whole drain. 0 means no limit, in both."""
    return min(manager_timeout or whole, whole) if whole else manager_timeout

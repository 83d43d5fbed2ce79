"""The programs: what each is called with, and what it needs beside it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.programs.deployments import HOST, Barbican, Deployment
from tests.support.callers import ANY, KEY, Call

OF_NOVA = ("DbDriver._report_state", "Service.periodic_tasks")
AT_ONCE = (  # periodic tasks of nova-compute that do not wait for a minute first
    "ComputeManager._sync_power_states",
    "ComputeManager._cleanup_running_deleted_instances",
)
NOVA_PING = {"exchange": "nova", "method": "ping", "namespace": "baseapi", "version": "1.1"}


@dataclass(frozen=True, slots=True)
class Program:
    """One program.

    :ivar project: which has it.
    :ivar calls: what its clients call, each with work in its database.
    :ivar workers: how many; 1: a program that is one a host.
    :ivar needs: another program, which its `main()` calls.
    :ivar timers: their names, within a minute of its start.
    """

    name: str
    project: str
    calls: Callable[[Any], Sequence[Call]]
    workers: int = 2
    needs: str = ""
    timers: Sequence[str] = ()

    @property
    def one_a_host(self) -> bool:
        """Whether no two of it may run at the same time."""
        return self.workers == 1

    def __str__(self) -> str:
        return self.name


def ping(service: str, topic: str, server: str | None = None) -> Call:
    """What each service of nova answers."""
    answer = {"service": service, "arg": KEY}
    return Call(topic=topic, server=server, arguments={"arg": KEY}, answer=answer, **NOVA_PING)


def _conductor(_: Deployment) -> Sequence[Call]:
    lowest = Call(
        "object_class_action_versions",
        exchange="nova",
        topic="conductor",
        version="3.0",
        arguments={
            "objname": "Service",
            "objmethod": "get_minimum_version",
            "object_versions": {"Service": "1.22"},
            "args": ["nova-compute"],
            "kwargs": {},
        },
        answer=ANY,
    )
    return (ping("conductor", "conductor"), lowest)


def _scheduler(_: Deployment) -> Sequence[Call]:
    return (ping("scheduler", "scheduler"),)


def _compute(_: Deployment) -> Sequence[Call]:
    """The fake driver does no more than answer."""
    maintenance = Call(
        "host_maintenance_mode",
        exchange="nova",
        topic="compute",
        server=HOST,
        version="6.0",
        arguments={"host": HOST, "mode": True},
        answer="on_maintenance",
    )
    return (ping("compute", "compute", HOST), maintenance)


def _barbican(deployment: Barbican) -> Sequence[Call]:
    """A key is made, and stored encrypted."""
    arguments = {
        "order_id": deployment.order,
        "project_id": deployment.tenant,
        "request_id": KEY,
    }
    order = Call(
        "process_type_order",
        exchange="openstack",
        topic="barbican.workers",
        namespace="barbican",
        version="1.1",
        arguments=arguments,
        answer=None,
    )
    return (order,)


def _octavia(_: Deployment) -> Sequence[Call]:
    """It is looked for in the database, and not found."""
    failover = Call(
        "failover_amphora",
        exchange="octavia",
        topic="octavia_provisioning_v2",
        namespace="controller",
        version="2.0",
        arguments={"amphora_id": KEY},
        answer=None,
    )
    return (failover,)


PROGRAMS = (
    Program("nova-conductor", "nova", _conductor, workers=4, timers=OF_NOVA),
    Program("nova-scheduler", "nova", _scheduler, timers=OF_NOVA),
    Program(
        "nova-compute",
        "nova",
        _compute,
        workers=1,
        needs="nova-conductor",
        timers=OF_NOVA + AT_ONCE,
    ),
    Program("barbican-worker", "barbican", _barbican),
    Program("octavia-worker", "octavia", _octavia, workers=4),
)
BY_NAME = {program.name: program for program in PROGRAMS}

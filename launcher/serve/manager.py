"""The application in a worker: a base class of hooks that do nothing, in the order of their call.

Derive from `Manager`, decorate methods with `@periodic_task` and, for methods that clients may
call, `@expose`, with `@idempotent` where a second execution does no harm; name the class in the
entry-point group `launcher.managers` or with `--manager package.module:Class`.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar

import oslo_messaging
from oslo_config import cfg
from oslo_messaging import expected_exceptions

from launcher.registry.interface import Registry
from launcher.registry.records import ServiceRecord
from launcher.serve.rpc import expose, idempotent, skip_tracking

__all__ = [
    "Manager",
    "ManagerContext",
    "TaskSpec",
    "expected_exceptions",
    "expose",
    "idempotent",
    "periodic_task",
    "skip_tracking",
]

Scope = Literal["worker", "host"]
_Method = TypeVar("_Method", bound=Callable[..., Any])


class ManagerContext(NamedTuple):
    """What a manager is told of its place. Made in the worker, after the fork.

    :ivar track: `track(future, name)` has a drain wait for work that a call left behind, as it
        waits for calls, within manager_shutdown_timeout; gives the future back. Any thread.
    """

    host: str
    binary: str
    topic: str
    slot: int
    state_path: str
    registry: Registry
    conf: cfg.ConfigOpts
    track: Callable[["Future[Any]", str], "Future[Any]"] = lambda future, _: future


class TaskSpec(NamedTuple):
    """How a periodic task is to be run. Seconds throughout; a negative spacing disables it."""

    name: str
    spacing: float
    run_immediately: bool
    timeout: float
    scope: Scope


def periodic_task(
    *,
    spacing: float = 60,
    run_immediately: bool = False,
    timeout: float | None = None,
    scope: Scope = "worker",
    name: str | None = None,
) -> Callable[[_Method], _Method]:
    """Have a manager's method `method(self, context)` run every `spacing` seconds.

    :param spacing: seconds from one start to the next; negative disables the task, 0 means as
        often as `periodic_interval_max` (or 60 s) allows. The configuration may override it.
    :param run_immediately: run once as soon as the worker serves, without the random delay.
    :param timeout: seconds after which a run counts as stuck and its worker as late; by default
        twice the spacing, 60 s at least.
    :param scope: "worker": in every worker; "host": only in the lead of the host.
    :param name: what log, board and configuration call it; by default the method's name.
    """

    def mark(method: _Method) -> _Method:
        method.periodic_task = TaskSpec(  # type: ignore[attr-defined]
            name=name or method.__name__,
            spacing=spacing,
            run_immediately=run_immediately,
            timeout=timeout if timeout is not None else max(60.0, 2 * spacing),
            scope=scope,
        )
        return method

    return mark


class Manager:
    """What a service does. One object a worker, made after the fork; RPC methods run in threads
    of the server's pool, periodic tasks in threads of their own."""

    target: ClassVar[oslo_messaging.Target] = oslo_messaging.Target(version="1.0")

    @classmethod
    def preload(cls, state_path: str) -> None:
        """Called in the master, before the first fork: import, and go through, what each worker
        needs for its start, so that they share the pages. Open nothing, start nothing; what is
        registered with atexit is not called in the end of the master."""

    def __init__(self, context: ManagerContext) -> None:
        """Store only: what takes time belongs into `init_host`."""
        self.context = context
        self.host = context.host
        self.registry = context.registry
        self.additional_endpoints: list[object] = []

    @classmethod
    def periodic_tasks(cls) -> Sequence[tuple[str, TaskSpec]]:
        """(method name, specification) of every task, in a stable order: the master numbers the
        tasks by it before the fork and a worker after it."""
        found = ((name, getattr(getattr(cls, name), "periodic_task", None)) for name in dir(cls))
        return tuple((name, spec) for name, spec in found if isinstance(spec, TaskSpec))

    def init_host(self, service: ServiceRecord | None) -> None:
        """First hook of a start, before the row is written; `service` is None on a new host."""

    def pre_start_hook(self, service: ServiceRecord) -> None:
        """After the row is written, before any call can arrive."""

    def post_start_hook(self) -> None:
        """After the RPC servers listen, before the service reports as up."""

    def graceful_shutdown(self, timeout: float) -> None:
        """In a drain, after the last call was taken: wait for work in hand, `timeout` seconds at
        most (0: without end)."""

    def cleanup_host(self) -> None:
        """Last hook: undo `init_host`. Also called when a later step of the start fails."""

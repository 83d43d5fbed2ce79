"""The application in a worker: the base class `Manager`. Its hooks do nothing. They are called in
the order of their definition.

Derive from `Manager`. Decorate a periodic task with `@periodic_task` and a method for clients with
`@expose`, plus `@idempotent` if a second execution does no harm. Name the class in the entry-point
group `launcher.managers` or with `--manager package.module:Class`.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, ClassVar, Literal, NamedTuple, TypeVar, cast

import oslo_messaging
from oslo_config import cfg

from launcher.registry.interface import Registry
from launcher.registry.records import ServiceRecord
from launcher.serve.rpc import expose, idempotent, skip_tracking, warn_after

__all__ = [
    "Manager",
    "ManagerContext",
    "TaskSpec",
    "expected_exceptions",
    "expose",
    "idempotent",
    "periodic_task",
    "skip_tracking",
    "warn_after",
]

Scope = Literal["worker", "host"]
Track = Callable[["Future[Any]", str], "Future[Any]"]
_Method = TypeVar("_Method", bound=Callable[..., Any])


class ManagerContext(NamedTuple):
    """The place of a manager: its host, service and worker. Made in the worker, after the fork.

    :ivar slot: the worker's number, from 0.
    :ivar track: `track(future, name)` makes a drain wait for a future as for a call, within
        manager_shutdown_timeout, and returns the future. For work that a call leaves behind. Any
        thread.
    """

    host: str
    binary: str
    topic: str
    slot: int
    state_path: str
    registry: Registry
    conf: cfg.ConfigOpts
    track: Track = lambda future, _: future


def expected_exceptions(*exceptions: type[BaseException]) -> Callable[[_Method], _Method]:
    """Mark an exposed method that may raise these: the client gets the exception, and the log gets
    no traceback.

    Unlike oslo.messaging's decorator, it keeps the method's name, docstring and signature.
    """
    decorate = oslo_messaging.expected_exceptions(*exceptions)

    def mark(method: _Method) -> _Method:
        marked: Any = functools.wraps(method)(decorate(method))
        # Wrong arguments are refused by it.
        marked.__signature__ = inspect.signature(method, follow_wrapped=False)
        return cast(_Method, marked)

    return mark


class TaskSpec(NamedTuple):
    """How a periodic task runs. Times in seconds; a negative spacing disables the task."""

    name: str
    spacing: float
    run_immediately: bool
    timeout: float
    scope: Scope


def periodic_task(
    *wrong: object,
    spacing: float = 60,
    run_immediately: bool = False,
    timeout: float | None = None,
    scope: Scope = "worker",
    name: str | None = None,
) -> Callable[[_Method], _Method]:
    """Run a manager's method `method(self, context)` every `spacing` seconds.

    :param spacing: seconds from one start to the next. A negative spacing disables the task. 0
        means `periodic_interval_max`, or 60 s without it. The configuration may override it.
    :param run_immediately: run once as soon as the worker serves, without the random delay.
    :param timeout: seconds after which a run counts as stuck and its worker as late. The default
        is twice the spacing, at least 60 s.
    :param scope: "worker": in every worker; "host": only in the lead of the host.
    :param name: the task's name in log, status and configuration. The default is the method's.
    :raises TypeError: the decorator has no parentheses, or a positional argument.
    """
    for value in wrong:
        what = f"on {getattr(value, '__qualname__', value)}" if callable(value) else f"({value!r})"
        raise TypeError(f"@periodic_task {what}: write @periodic_task(spacing=60), with names")

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
    """The application. Each worker makes one object, after the fork. RPC methods run in threads of
    the server's pool, and each run of a periodic task in a separate thread."""

    target: ClassVar[oslo_messaging.Target] = oslo_messaging.Target(version="1.0")
    needs_database: ClassVar[bool] = False  # True: refused where [database] use_conductor is set

    @classmethod
    def preload(cls, state_path: str) -> None:
        """Called in the master, before the first fork: import modules and build data that every
        worker needs, so that the workers share the memory. Open no descriptor and start no thread
        or process. The master does not call functions registered with atexit when it ends.

        Options of the manager's own that are registered here, or by its module, in oslo.config's
        `cfg.CONF`, are checked by a start, by `config check` and by a reload."""

    def __init__(self, context: ManagerContext) -> None:
        """Only store the arguments: what takes time belongs into `init_host`."""
        self.context = context
        self.host = context.host
        self.registry = context.registry
        self.additional_endpoints: list[object] = []

    @classmethod
    def periodic_tasks(cls) -> Sequence[tuple[str, TaskSpec]]:
        """(method name, specification) of every task, in a stable order: master and workers number
        the tasks by it."""
        found = ((name, getattr(getattr(cls, name), "periodic_task", None)) for name in dir(cls))
        return tuple((name, spec) for name, spec in found if isinstance(spec, TaskSpec))

    def init_host(self, service: ServiceRecord | None) -> None:
        """First hook of a start, before the row in the registry is written. `service` is the row
        as it was, None on a new host."""

    def pre_start_hook(self, service: ServiceRecord) -> None:
        """After the row is written, before any call can arrive."""

    def post_start_hook(self) -> None:
        """After the RPC servers listen, before the service reports as up."""

    def graceful_shutdown(self, timeout: float) -> None:
        """In a drain, after the last call was taken: wait for the manager's own work, for at most
        `timeout` seconds (0: no limit)."""

    def cleanup_host(self) -> None:
        """Last hook: undo `init_host`. Also called when a later step of the start fails."""

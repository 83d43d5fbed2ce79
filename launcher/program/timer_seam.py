"""All private names of oslo.service and futurist on which the timers of foreign programs stand."""

import importlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial, wraps
from typing import Any, Protocol

from launcher.program.library_names import Name

LOOPING_CALLS = "oslo_service.backend._threading.loopingcall"
THREAD_GROUPS = "oslo_service.backend._threading.threadgroup"
LOOPS = ("LoopingCallBase._start", "LoopingCallBase._run_loop", "FutureEvent.wait")
MAKERS = ("_create_fixed_timer", "_create_dynamic_timer")

NAMES = (
    *(Name("oslo.service", LOOPING_CALLS, name) for name in LOOPS),
    Name("oslo.service", LOOPING_CALLS, "LoopingCallDone"),
    *(Name("oslo.service", THREAD_GROUPS, f"ThreadGroup.{name}") for name in MAKERS),
    Name("oslo.service", "oslo_service.periodic_task", "PeriodicTasks.run_periodic_tasks"),
    Name("oslo.service", "oslo_service.periodic_task", "PeriodicTasks._periodic_tasks"),
    Name("futurist", "futurist.periodics", "PeriodicWorker._run"),
    Name("futurist", "futurist.periodics", "NeverAgain"),
)


class TimerObserver(Protocol):
    """What happens to the timers of a program. Any thread."""

    def launches(self) -> bool:
        """Whether this thread launches the services of the program."""

    def awaiting_end(self) -> AbstractContextManager[None]:
        """This thread waits, within the context, for the end of a looping call that was begun
        while the services were launched."""

    def add(self, name: str, first_in: float) -> Any:
        """A looping call begins, and runs in `first_in` seconds. Returns its timer."""

    def of(self, owner: object, name: str) -> Any:
        """The timer of a periodic task that an object has."""

    def run(self, timer: Any, go_on: Callable[[], Any], ends: type[Exception]) -> Any:
        """One run: `go_on`. `ends` ends the timer, and is no failure."""

    def rest(self, timer: Any, pause: float) -> None:
        """The next run is due in `pause` seconds."""

    def end(self, timer: Any) -> None:
        """The timer runs no more."""


def observe(observer: TimerObserver) -> None:
    """Have the timers of oslo.service and futurist in this process observed. Called in the master,
    before the first fork, after the program's import."""
    _observe_looping_calls(observer)
    _observe_periodic_tasks(observer)
    _observe_futurist(observer)


def _observe_looping_calls(observer: TimerObserver) -> None:
    module: Any = importlib.import_module(LOOPING_CALLS)
    loops, done, event = module.LoopingCallBase, module.LoopingCallDone, module.FutureEvent
    groups: Any = importlib.import_module(THREAD_GROUPS).ThreadGroup
    start, run_loop = loops._start, loops._run_loop

    def start_observed(
        self: Any, idle_for: Any, initial_delay: Any = None, stop_on_exception: bool = True
    ) -> Any:
        if launched := getattr(self, "_in_a_group", False) or observer.launches():
            self._observed = True
        ended = start(self, idle_for, initial_delay, stop_on_exception)
        ended._launched = launched
        return ended

    def run_loop_observed(
        self: Any, idle_for: Any, initial_delay: Any = None, stop_on_exception: bool = True
    ) -> None:
        if not self.__dict__.pop("_observed", False):
            run_loop(self, idle_for, initial_delay, stop_on_exception)
            return
        function = self.f
        timer = observer.add(_name_of(function), initial_delay or 0)
        self.f = wraps(function)(
            lambda *args, **options: observer.run(timer, partial(function, *args, **options), done)
        )
        try:
            run_loop(self, partial(rest, timer, idle_for), initial_delay, stop_on_exception)
        finally:
            self.f = function
            observer.end(timer)

    def rest(timer: Any, idle_for: Any, result: Any, elapsed: float) -> Any:
        idle = idle_for(result, elapsed)
        observer.rest(timer, idle)
        return idle

    loops._start, loops._run_loop = start_observed, run_loop_observed
    event.wait = _waiting(event.wait, observer)
    for name in MAKERS:
        setattr(groups, name, _marking(getattr(groups, name)))


def _waiting(wait: Callable[..., Any], observer: TimerObserver) -> Callable[..., Any]:
    """Have the observer know who waits for a looping call, by its method or by what its start has
    returned."""

    @wraps(wait)
    def wait_observed(self: Any, timeout: float | None = None) -> Any:
        launched = getattr(self, "_launched", False)
        with observer.awaiting_end() if launched else nullcontext():
            return wait(self, timeout)

    return wait_observed


def _marking(make: Callable[..., Any]) -> Callable[..., Any]:
    """Have what a thread group makes known as one of a group."""

    @wraps(make)
    def make_marked(self: Any, *args: Any, **options: Any) -> Any:
        timer = make(self, *args, **options)
        timer._in_a_group = True
        return timer

    return make_marked


def _name_of(function: Any) -> str:
    """The class and the name of a callable, as its author knows it."""
    while isinstance(function, partial):
        function = function.func
    owner = getattr(function, "__self__", None)
    name = str(getattr(function, "__name__", type(function).__name__))
    if owner is not None and not isinstance(owner, type):
        return f"{type(owner).__name__}.{name}"
    return str(getattr(function, "__qualname__", name)).replace("<locals>.", "")


def _observe_periodic_tasks(observer: TimerObserver) -> None:
    from oslo_service.periodic_task import PeriodicTasks  # noqa: PLC0415  # after the program

    run_all = PeriodicTasks.run_periodic_tasks

    def observed(owner: Any, name: str, task: Any) -> Any:
        @wraps(task)
        def run(*args: Any) -> Any:
            timer = observer.of(owner, f"{type(owner).__name__}.{name}")
            return observer.run(timer, partial(task, *args), StopIteration)

        return run

    @wraps(run_all)
    def run_all_observed(self: Any, *args: Any, **options: Any) -> Any:
        tasks = type(self)._periodic_tasks
        self._periodic_tasks = [(name, observed(self, name, task)) for name, task in tasks]
        return run_all(self, *args, **options)

    PeriodicTasks.run_periodic_tasks = run_all_observed


def _observe_futurist(observer: TimerObserver) -> None:
    from futurist.periodics import PeriodicWorker  # noqa: PLC0415  # after eventlet is hidden

    run = PeriodicWorker._run

    @wraps(run)
    def run_observed(self: Any, executor: Any, runner: Any, *args: Any, **options: Any) -> None:
        if isinstance(executor, ProcessPoolExecutor):  # its runs are in other processes
            return run(self, executor, runner, *args, **options)
        observed = _ObservedRunner(observer, runner)
        try:
            run(self, executor, observed, *args, **options)  # type: ignore[arg-type]
        finally:
            observed.end()

    PeriodicWorker._run = run_observed  # type: ignore[method-assign]


class _ObservedRunner:
    """In place of the runner of a futurist worker: `run` executes one periodic."""

    def __init__(self, observer: TimerObserver, runner: Any) -> None:
        self._observer = observer
        self._runner = runner
        self._timers: dict[int, Any] = {}  # by the identity of the work, which futurist keeps

    def run(self, work: Any) -> Any:
        """Execute a work of futurist's. Returns what its runner does."""
        from futurist.periodics import NeverAgain  # noqa: PLC0415  # as above

        callback = work.callback
        timer = self._timers[id(work)] = self._observer.of(work, _name_of(callback))

        def call(*args: Any, **options: Any) -> Any:
            return self._observer.run(timer, partial(callback, *args, **options), NeverAgain)

        outcome = self._runner.run(work._replace(callback=call))
        failure = outcome[2]
        if failure is not None and issubclass(failure.exc_type, NeverAgain):
            self._observer.end(timer)
        else:
            self._observer.rest(timer, callback._periodic_spacing)
        return outcome

    def end(self) -> None:
        """The worker of futurist has stopped."""
        for timer in self._timers.values():
            self._observer.end(timer)

"""Finds faults of manager classes that Python accepts: for instance, a hook that can never run.

Pure: looks at classes and calls none of their code. Called in the master before the first fork, by
`config check`, and in a worker for a manager's additional endpoints.
"""

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, get_args

from launcher.serve.manager import Manager, Scope, TaskSpec

OWN_TASKS = ("probe", "report")  # the tasks of each worker beside the manager's
# The number of arguments of each hook, without self.
HOOKS = {
    "preload": 1,
    "__init__": 1,
    "init_host": 1,
    "pre_start_hook": 1,
    "post_start_hook": 0,
    "graceful_shutdown": 1,
    "cleanup_host": 0,
}
_LATER: tuple[tuple[Callable[[object], bool], str], ...] = (
    (inspect.iscoroutinefunction, "async def"),
    (inspect.isasyncgenfunction, "an asynchronous generator"),
    (inspect.isgeneratorfunction, "a generator"),
)


def fault_of(manager: type[Manager]) -> str | None:
    """The first fault of a manager class, as a sentence that names the method; None: no fault."""
    return next(_faults(manager), None)


def fault_of_endpoint(endpoint: type) -> str | None:
    """The first fault of the exposed methods of an endpoint class; None: no fault."""
    return next(_faults_of_exposed(endpoint), None)


def unknown_spacings(manager: type[Manager], names: Iterable[str]) -> list[str]:
    """A sentence for each task that the configuration gives a spacing and the manager does not
    have.

    :param names: of the tasks in `[periodic_tasks] spacing`.
    """
    known = [spec.name for _, spec in manager.periodic_tasks()]
    return [
        f"[periodic_tasks] spacing names {name!r}, but {manager.__name__} has no such task; "
        f"it has {', '.join(known) or 'none'}"
        for name in names
        if name not in known
    ]


def _faults(manager: type[Manager]) -> Iterator[str]:
    for name, arguments in HOOKS.items():
        yield from _faults_of(manager, name, arguments, "it is called as a hook")
    for name, spec in manager.periodic_tasks():
        yield from _faults_of(manager, name, 1, "it is a periodic task")
        yield from (f"{manager.__name__}.{name}: {fault}" for fault in _faults_of_spec(spec))
    yield from _faults_of_names(manager)
    yield from _faults_of_exposed(manager)


def _faults_of_names(manager: type[Manager]) -> Iterator[str]:
    names = Counter(spec.name for _, spec in manager.periodic_tasks())
    for name, count in names.items():
        methods = [method for method, spec in manager.periodic_tasks() if spec.name == name]
        if count > 1:
            yield f"{' and '.join(methods)} are periodic tasks of one name, {name!r}"
        elif name in OWN_TASKS:
            yield f"{methods[0]} is a periodic task named {name!r}, as one of each worker's own"


def _faults_of_spec(spec: TaskSpec) -> Iterator[str]:
    if not isinstance(spec.name, str) or not spec.name:
        yield f"name={spec.name!r} is no name of a task"
    if not _is_number(spec.spacing):
        yield f"spacing={spec.spacing!r} is no number of seconds"
    if not _is_number(spec.timeout) or spec.timeout <= 0:
        yield f"timeout={spec.timeout!r} is no number of seconds above 0"
    if spec.scope not in get_args(Scope):
        yield f"scope={spec.scope!r} is neither of {', '.join(get_args(Scope))}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _faults_of_exposed(endpoint: type) -> Iterator[str]:
    for name in dir(endpoint):
        method = inspect.getattr_static(endpoint, name)
        if getattr(_function_of(method), "exposed", False):
            yield from _faults_of(endpoint, name, None, "clients call it")


def _faults_of(owner: type, name: str, arguments: int | None, why: str) -> Iterator[str]:
    """
    :param arguments: the number of arguments without self; None: at least one, the context.
    """
    found = inspect.getattr_static(owner, name)
    function, full = _function_of(found), f"{owner.__name__}.{name}"
    for test, kind in _LATER:
        if test(function):
            yield f"{full} is {kind}, which would never run: {why}, in a thread; use a plain def"
    if not inspect.isfunction(function):  # C code or a partial: it has no signature
        return
    own = [object()] if _is_given_itself(found, name) else []
    signature = inspect.signature(function, follow_wrapped=False)
    try:
        if arguments is None:
            signature.bind_partial(*own, object())
        else:
            signature.bind(*own, *[object()] * arguments)
    except TypeError as error:
        given = f"self and {arguments if arguments is not None else 1} more"
        yield f"{full}{signature} cannot be called with {given}: {error}"


def _is_given_itself(found: object, name: str) -> bool:
    """Whether Python passes the manager, or its class, as the first argument. `preload` is called
    before there is a manager, so it has to be a class method."""
    return (
        isinstance(found, classmethod)
        if name == "preload"
        else not isinstance(found, staticmethod)
    )


def _function_of(found: object) -> Any:
    return found.__func__ if isinstance(found, classmethod | staticmethod) else found

"""What a manager class cannot mean is refused, and the method named."""

import asyncio
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from types import FunctionType, SimpleNamespace
from typing import Any, cast

import pytest
from oslo_config import cfg

from launcher.compute.compute_manager import ComputeManager
from launcher.errors import ManagerUnfit
from launcher.serve import hooks, manager_checks
from launcher.serve.endpoints import make_endpoints
from launcher.serve.manager import Manager, expected_exceptions, expose, periodic_task


async def later(self: Any, *args: Any) -> None: ...


def by_and_by(self: Any, *args: Any) -> Iterator[int]:
    yield 1


async def stream(self: Any, *args: Any) -> AsyncIterator[int]:
    yield 1


def nothing(self: Any) -> None: ...


def anything(self: Any, *args: Any, **kwargs: Any) -> None: ...


def too_much(self: Any, context: Any, more: Any) -> None: ...


def keyword_only(self: Any, *, context: Any) -> None: ...


def synchronous(self: Any, context: Any) -> None:
    asyncio.run(later(self))


def manager(**members: Any) -> type[Manager]:
    return type("Theirs", (Manager,), members)


def task(function: Callable[..., Any], **options: Any) -> Any:
    return periodic_task(**options)(function)


def copy(function: Callable[..., Any]) -> Any:
    """Another one of the same kind, to be marked."""
    assert isinstance(function, FunctionType)
    return FunctionType(function.__code__, globals(), function.__name__)


@pytest.mark.parametrize("hook", sorted({*manager_checks.HOOKS} - {"preload"}))
@pytest.mark.parametrize(
    ("function", "words"),
    [
        (later, "is async def"),
        (by_and_by, "is a generator"),
        (stream, "is an asynchronous generator"),
        (too_much, "cannot be called with"),
        (keyword_only, "cannot be called with"),
    ],
)
def test_a_hook_that_cannot_run(hook: str, function: Callable[..., Any], words: str) -> None:
    fault = manager_checks.fault_of(manager(**{hook: function})) or ""

    assert fault.startswith(f"Theirs.{hook}")
    assert words in fault


@pytest.mark.parametrize(
    ("preload", "fine"),
    [
        (classmethod(anything), True),
        (staticmethod(nothing), True),
        (nothing, True),
        (classmethod(nothing), False),
        (classmethod(later), False),
        (lambda cls, state_path: None, False),  # a class method without its decorator
    ],
)
def test_what_is_called_before_there_is_a_manager(preload: Any, fine: bool) -> None:
    assert (manager_checks.fault_of(manager(preload=preload)) is None) is fine


@pytest.mark.parametrize(
    ("mark", "function", "words"),
    [
        *(
            (mark, function, words)
            for mark in (task, expose)
            for function, words in (
                (later, "is async def"),
                (by_and_by, "is a generator"),
                (stream, "is an asynchronous generator"),
                (nothing, "cannot be called with self and 1 more"),
                (keyword_only, "cannot be called with self and 1 more"),
            )
        ),
        (task, too_much, "cannot be called with self and 1 more"),
    ],
)
def test_a_task_or_method_that_cannot_run(
    mark: Callable[..., Any], function: Callable[..., Any], words: str
) -> None:
    fault = manager_checks.fault_of(manager(run=mark(copy(function)))) or ""

    assert fault.startswith("Theirs.run")
    assert words in fault


def test_a_static_method_is_given_no_manager() -> None:
    assert manager_checks.fault_of(manager(run=staticmethod(expose(copy(nothing))))) is None
    assert manager_checks.fault_of(manager(run=staticmethod(task(copy(too_much))))) is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"spacing": "60"}, "spacing='60'"),
        ({"spacing": float("nan")}, "spacing=nan"),
        ({"spacing": True}, "spacing=True"),
        ({"timeout": 0}, "timeout=0"),
        ({"timeout": -1}, "timeout=-1"),
        ({"scope": "everywhere"}, "scope='everywhere'"),
        ({"name": 7}, "name=7"),
        ({"name": "report"}, "named 'report'"),
    ],
)
def test_a_task_that_says_what_cannot_be(options: dict[str, Any], words: str) -> None:
    options = {"timeout": 5} | options  # else it is reckoned by the spacing
    fault = manager_checks.fault_of(manager(tick=task(copy(anything), **options))) or ""

    assert "tick" in fault
    assert words in fault


def test_two_tasks_of_one_name() -> None:
    found = manager(one=task(copy(anything), name="x"), two=task(copy(anything), name="x"))

    assert manager_checks.fault_of(found) == "one and two are periodic tasks of one name, 'x'"


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"init_host": anything, "cleanup_host": anything},
        {"tick": task(copy(synchronous))},
        {"tick": task(functools.wraps(later)(copy(synchronous)))},
        {"method": expose(copy(too_much))},
        {"helper": later, "stream": stream},  # of the manager's own use
    ],
)
def test_what_is_fine(members: dict[str, Any]) -> None:
    assert manager_checks.fault_of(manager(**members)) is None


def test_our_own_managers_are_fine() -> None:
    assert manager_checks.fault_of(Manager) is None
    assert manager_checks.fault_of(ComputeManager) is None


def test_what_a_decorator_hides_is_found_when_it_is_called() -> None:
    hidden = expected_exceptions(KeyError)(later)
    assert manager_checks.fault_of(manager(tick=task(hidden))) is None

    for function in (hidden, by_and_by, stream):
        with pytest.raises(TypeError, match="tick has not run: it returned a"):
            hooks.call_hook(function, None, name="tick")


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda: periodic_task(anything), r"@periodic_task on anything: write @periodic_task\(sp"),
        (lambda: periodic_task(60), r"@periodic_task \(60\): write @periodic_task\(spacing=60\)"),
    ],
)
def test_the_decorator_without_its_parentheses_or_names(use: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        use()


def test_a_spacing_for_a_task_that_there_is_not() -> None:
    found = manager(tick=task(copy(anything), name="tick"))

    assert manager_checks.unknown_spacings(found, ["tick"]) == []
    assert manager_checks.unknown_spacings(found, ["tock", "report"]) == [
        "[periodic_tasks] spacing names 'tock', but Theirs has no such task; it has tick",
        "[periodic_tasks] spacing names 'report', but Theirs has no such task; it has tick",
    ]


def test_an_additional_endpoint_is_checked_as_the_manager_is() -> None:
    endpoint = type("Aside", (), {"count": expose(copy(by_and_by)), "private": later})
    fault = manager_checks.fault_of_endpoint(endpoint)
    assert fault is not None
    assert "count" in fault
    theirs = manager()(cast(Any, SimpleNamespace(host="node-1", registry=None)))
    theirs.additional_endpoints = [endpoint()]
    with pytest.raises(ManagerUnfit, match="count"):
        make_endpoints(cfg.CONF, theirs, cast(Any, None), cast(Any, None))

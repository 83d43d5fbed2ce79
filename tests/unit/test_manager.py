"""The base class of applications: hooks that do nothing, tasks that are found."""

import inspect

import oslo_messaging
import pytest

from launcher.serve.manager import Manager, TaskSpec, expose, periodic_task


class Example(Manager):
    @periodic_task(spacing=10)
    def zebra(self, context: object) -> None: ...

    @periodic_task(spacing=600, run_immediately=True, scope="host", timeout=5, name="named")
    def aardvark(self, context: object) -> None: ...

    def no_task(self) -> None: ...


class Heir(Example):
    @periodic_task(spacing=-1)
    def zebra(self, context: object) -> None: ...

    def aardvark(self, context: object) -> None:
        """Not a task any more."""


def test_tasks_are_found_in_the_same_order_everywhere() -> None:
    assert Example.periodic_tasks() == (
        ("aardvark", TaskSpec("named", 600, True, 5, "host")),
        ("zebra", TaskSpec("zebra", 10, False, 60, "worker")),
    )


def test_an_heir_overrides_and_drops_tasks() -> None:
    assert Heir.periodic_tasks() == (("zebra", TaskSpec("zebra", -1, False, 60, "worker")),)


@pytest.mark.parametrize(
    ("spacing", "timeout", "expected"),
    [(10, None, 60), (45, None, 90), (45, 3, 3), (45, 0.5, 0.5)],
)
def test_a_task_is_stuck_after_twice_its_spacing_unless_it_says_when(
    spacing: float, timeout: float | None, expected: float
) -> None:
    def task(self: object, context: object) -> None: ...

    marked = periodic_task(spacing=spacing, timeout=timeout)(task)

    assert marked.periodic_task.timeout == expected  # type: ignore[attr-defined]


def test_the_decorator_leaves_the_method_as_it_is() -> None:
    def task(self: object, context: object) -> str:
        return "done"

    assert periodic_task()(task) is task
    assert task(None, None) == "done"


def test_a_bare_manager_has_nothing_to_do() -> None:
    assert Manager.periodic_tasks() == ()
    assert Manager.target.version == "1.0"


@pytest.mark.parametrize(
    "hook",
    ["init_host", "pre_start_hook", "post_start_hook", "graceful_shutdown", "cleanup_host"],
)
def test_every_hook_is_documented(hook: str) -> None:
    assert inspect.getdoc(getattr(Manager, hook))


def test_exposed_is_what_the_access_policy_lets_through() -> None:
    class Endpoint:
        @expose
        def open(self) -> None: ...

        def closed(self) -> None: ...

    policy = oslo_messaging.ExplicitRPCAccessPolicy()

    assert policy.is_allowed(Endpoint(), "open")
    assert not policy.is_allowed(Endpoint(), "closed")

"""Timers of foreign programs: counted, named when they are stuck, repaired as configured."""

from collections import Counter
from pathlib import Path

import pytest

from tests.functional.service.faults import status, with_options, workers
from tests.functional.service.foreign import SOON, Call, Run, Theirs, counted, program_of
from tests.support.growing import whole_lines
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

NAMED = with_options(health={"timer_warn_after": 1, "timer_timeout": 0})
REPAIRED = with_options(health={"timer_warn_after": 1, "timer_timeout": 3})
TIMERS = {
    "oslo_program": ("Tasks.clean", "Tasks.sweep", "Tasks.run_tasks", "report"),
    "cotyledon_program": ("poll",),
}
STUCK = [("oslo_program", "sweep", "Tasks.sweep"), ("oslo_program", "report", "report")]
STUCK += [("cotyledon_program", "poll", "poll")]


def ticks(path: Path) -> Counter[str]:
    """How often each timer has run, by the name that it writes."""
    return Counter(whole_lines(path / "ticks"))


def runs(service: Launcher) -> dict[str, int]:
    """How often each timer has run, as the metrics have it."""
    return counted(service, "task_duration_seconds_count", "task")


@pytest.mark.parametrize("kind", TIMERS)
def test_timers_are_counted_by_name(run: Run, call: Call, theirs: Theirs, kind: str) -> None:
    """A looping call that a method makes to wait is none."""
    theirs.set(timers=True)
    service = run(kind, "--workers=2")
    service.wait_ready()
    call("wait_a_little")
    wait_until(
        lambda: all(runs(service).get(name, 0) >= 3 for name in TIMERS[kind]), SOON, "counted"
    )
    assert set(runs(service)) == set(TIMERS[kind])
    assert {worker["last_task"] for worker in workers(service)} <= set(TIMERS[kind])
    report = service.run_command("status", "--report=0", f"--program={program_of(kind)}").stdout
    assert all(f"{name}: " in report for name in TIMERS[kind])


@pytest.mark.parametrize("stuck", STUCK)
def test_a_stuck_timer_is_named_until_it_goes_on(
    run: Run, theirs: Theirs, notify: NotifySocket, stuck: tuple[str, str, str]
) -> None:
    kind, held, name = stuck
    theirs.set(timers=True)
    service = run(kind, "--workers=1", config=NAMED, notify=notify)
    service.wait_ready()
    pids = [worker["pid"] for worker in workers(service)]
    hold = theirs.path.with_name(f"hold-{held}")
    hold.touch()
    said = f"degraded: 1/1 workers serving; worker 0: {name} stuck for "
    wait_until(
        lambda: any(line.startswith(said) for line in notify.values("STATUS")),
        SOON,
        "STATUS names it",
    )
    assert status(service)["headline"].startswith(said)
    hold.unlink()
    wait_until(lambda: status(service)["headline"] == "1/1 workers serving", SOON, "it goes on")
    service.wait_for_line(f"{name} goes on")
    assert [worker["pid"] for worker in workers(service)] == pids


@pytest.mark.parametrize(("kind", "held", "name"), STUCK)
def test_a_worker_with_a_stuck_timer_is_replaced(
    run: Run, theirs: Theirs, kind: str, held: str, name: str
) -> None:
    theirs.set(timers=True)
    service = run(kind, "--workers=1", config=REPAIRED)
    service.wait_ready()
    (before,) = (worker["pid"] for worker in workers(service))
    hold = theirs.path.with_name(f"hold-{held}")
    hold.touch()
    service.wait_for_line(rf"worker 0 pid {before}: task {name} late by")
    service.wait_for_line("in tick")  # the stack of the stuck thread
    hold.unlink()
    wait_until(
        lambda: (
            [worker["state"] for worker in workers(service)] == ["serving"]
            and workers(service)[0]["pid"] != before
        ),
        SOON,
        "another worker serves",
    )
    before_it = ticks(theirs.path.parent)[held]
    wait_until(
        lambda: ticks(theirs.path.parent)[held] > before_it + 2, SOON, "the timer runs again"
    )


def test_a_timer_that_fails_is_named(run: Run, theirs: Theirs) -> None:
    """As the thread group has it, a fixed timer that raises runs no more."""
    theirs.set(timers=True)
    service = run("oslo_program", "--workers=1")
    service.wait_ready()
    theirs.path.with_name("break-report").touch()
    theirs.path.with_name("break-sweep").touch()
    said = "degraded: 1/1 workers serving; worker 0: 2 periodic tasks failing ("

    def names() -> bool:
        headline = str(status(service)["headline"])
        return headline.startswith(said) and "Tasks.sweep" in headline and "report" in headline

    wait_until(names, SOON, "STATUS names both", show=lambda: status(service)["headline"])
    theirs.path.with_name("break-sweep").unlink()
    wait_until(
        lambda: "1 periodic task failing" in status(service)["headline"], SOON, "one works again"
    )

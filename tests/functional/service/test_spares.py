"""Spares: workers that wait, and take the slot of one that dies. On both buses."""

import os
import signal
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import status, with_options, workers
from tests.functional.service.foreign import Call, Run, answerers
from tests.functional.service.test_row import row
from tests.support.callers import Callers, Ledger
from tests.support.growing import whole_lines
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.waiting import wait_until

SOON = 30.0
FIRST = 500  # slot of the first spare

pytestmark = pytest.mark.timeout(300)


def with_spares(number: int, **supervision: object) -> dict[str, dict[str, object]]:
    return with_options(
        DEFAULT={"host": "node-1"},
        supervision={"spares": number, "stable_after": 0, "backoff_max": 0, **supervision},
    )


def by_slot(service: Launcher) -> Mapping[int, dict[str, Any]]:
    return {worker["slot"]: worker for worker in workers(service)}


def says(service: Launcher, headline: str) -> None:
    wait_until(
        lambda: status(service)["headline"] == headline,
        SOON,
        headline,
        show=lambda: status(service)["headline"],
    )


def serves(service: Launcher, slot: int, pid: int) -> bool:
    worker = by_slot(service)[slot]
    return (worker["pid"], worker["state"]) == (pid, "serving")


def gone(service: Launcher, pids: set[int]) -> bool:
    return not pids & set(service.workers())


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def replace(service: Launcher, slot: int, spares: int = 1) -> None:
    """Kill the worker of a slot, and wait until a spare has it and the next spare waits."""
    victim, first = by_slot(service)[slot]["pid"], by_slot(service)[FIRST]["pid"]
    kill(victim)

    def done() -> bool:
        found = by_slot(service)
        waiting = [found[FIRST + number] for number in range(spares)]
        news = first not in {worker["pid"] for worker in waiting}
        return (
            found[slot]["pid"] != victim
            and found[slot]["state"] == "serving"
            and (news or spares > 1)
            and all(worker["state"] == "spare" for worker in waiting)
        )

    wait_until(done, SOON, "it is replaced", show=lambda: by_slot(service))


@pytest.mark.usefixtures("transport")
def test_a_spare_takes_the_slot_of_a_dead_worker_and_another_one_follows(
    start: Start, notify: NotifySocket, transport: str | None
) -> None:
    service = start("Working", config=with_spares(1), notify=notify)
    service.wait_ready()
    says(service, "2/2 workers serving, 1 spare")
    url = transport or f"unix://{service.runtime_path}/bus"
    ledger = Ledger(service.state_path)
    with Callers(url, "node-1", ("work",)) as callers:  # idempotent: no death loses one
        ledger.wait_for(20)
        for slot in (0, 1, 0):  # the lead, too
            before = by_slot(service)
            spare = before[FIRST]
            assert (spare["state"], spare["wanted"]) == ("spare", "spare")
            assert (spare["calls"]["done"], spare["last_task"]) == (0, None)
            since = len(service.output)
            kill(before[slot]["pid"])
            service.wait_for_line(rf"worker={slot} pid={spare['pid']} serving after", since=since)
            assert by_slot(service)[slot]["pid"] == spare["pid"]
            pinged = service.run_command("ping", "--worker", str(slot))
            assert f"pid {spare['pid']}" in pinged.stdout
            says(service, "2/2 workers serving, 1 spare")
            after = by_slot(service)
            assert after[1 - slot]["pid"] == before[1 - slot]["pid"], "the other one was touched"
            assert after[FIRST]["pid"] not in {worker["pid"] for worker in before.values()}
            ledger.wait_for(len(ledger.executions()) + 20)
        tally = callers.end()
    assert not tally.failed
    assert not tally.wrong
    assert sum(by_slot(service)[slot]["restarts"] for slot in (0, 1)) == 3
    wait_until(lambda: row(service)["workers_serving"] == 2, SOON, "the row says so")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


@pytest.mark.usefixtures("transport")
def test_managers_know_the_slot_that_a_spare_has_got(start: Start, notify: NotifySocket) -> None:
    service = start("Periodic", config=with_spares(1), notify=notify)
    service.wait_ready()
    says(service, "2/2 workers serving, 1 spare")
    spare = by_slot(service)[FIRST]["pid"]
    replace(service, 1)
    assert serves(service, 1, spare)
    told = whole_lines(service.state_path / "trace")
    events = [line.split()[:2] for line in told if line.split()[2] == str(spare)]
    assert ["init_host", str(FIRST)] in events
    assert ["post_start_hook", "1"] in events
    assert ["post_start_hook", str(FIRST)] not in events


@pytest.mark.usefixtures("transport")
def test_operations_and_a_stop_know_spares(start: Start, notify: NotifySocket) -> None:
    service = start("Working", config=with_spares(2), notify=notify)
    service.wait_ready()
    says(service, "2/2 workers serving, 2 spares")
    first = {by_slot(service)[slot]["pid"] for slot in (FIRST, FIRST + 1)}

    assert service.run_command("scale", "3").status == 0
    assert status(service)["headline"] == "3/3 workers serving, 2 spares"
    assert status(service)["workers_wanted"] == 3
    assert {by_slot(service)[slot]["pid"] for slot in (FIRST, FIRST + 1)} == first

    assert service.run_command("restart-worker", "1").status == 0
    assert service.run_command("reload").status == 0
    says(service, "3/3 workers serving, 2 spares")
    assert {worker["configuration"] for worker in workers(service)} == {2}
    assert not first & {worker["pid"] for worker in workers(service)}
    replace(service, 2, spares=2)  # the numbers of processes and slots part

    assert service.run_command("scale", "1").status == 0
    says(service, "1/1 workers serving, 2 spares")
    assert service.run_command("scale", "4").status == 0
    says(service, "4/4 workers serving, 2 spares")
    assert len(set(service.workers())) == 6

    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


@pytest.mark.usefixtures("transport")
def test_a_spare_that_dies_or_hangs_is_replaced_and_nobody_else_is_touched(
    start: Start, notify: NotifySocket
) -> None:
    service = start("Working", config=with_spares(1), notify=notify)
    service.wait_ready()
    says(service, "2/2 workers serving, 1 spare")
    before = by_slot(service)
    kill(before[FIRST]["pid"])
    service.wait_for_line(rf"worker {FIRST} pid {before[FIRST]['pid']} ended: killed by SIGKILL")
    says(service, "2/2 workers serving, 1 spare")
    stopped = by_slot(service)[FIRST]["pid"]
    assert stopped != before[FIRST]["pid"]

    os.kill(stopped, signal.SIGSTOP)
    service.wait_for_line(rf"worker {FIRST} pid {stopped}: spare late")
    wait_until(lambda: by_slot(service)[FIRST]["pid"] not in {None, stopped}, SOON, "replaced")
    says(service, "2/2 workers serving, 1 spare")
    after = by_slot(service)
    assert [after[slot]["pid"] for slot in (0, 1)] == [before[slot]["pid"] for slot in (0, 1)]


@pytest.mark.usefixtures("transport")
def test_all_that_die_at_once_are_replaced(start: Start, notify: NotifySocket) -> None:
    service = start("Working", "--workers=3", config=with_spares(2), notify=notify)
    service.wait_ready()
    before: set[int] = set()
    for _ in range(3):
        five_others(service, before)
        before = set(service.workers())
        for pid in before:
            kill(pid)
        wait_until(partial(gone, service, before), SOON, "all died")
    five_others(service, before)


def five_others(service: Launcher, before: set[int]) -> None:
    """The master may not have heard of the deaths yet, and its headline be of the dead."""
    wait_until(lambda: len(set(service.workers()) - before) == 5, SOON, "five others")
    says(service, "3/3 workers serving, 2 spares")


@pytest.mark.usefixtures("transport")
def test_a_spare_that_cannot_start_rests_and_the_service_goes_on(
    start: Start, notify: NotifySocket
) -> None:
    config = with_spares(1, serve_degraded=False, backoff_max=1, restart_limit=2)
    service = start("SpareUnfit", config=config, notify=notify)
    service.wait_ready()
    service.wait_for_line(rf"worker {FIRST} rests for")
    told = f"degraded: 2/2 workers serving; worker {FIRST}: restarts in"
    wait_until(
        lambda: status(service)["headline"].startswith(told),
        SOON,
        told,
        show=lambda: status(service)["headline"],
    )
    kill(by_slot(service)[1]["pid"])  # as without spares
    wait_until(lambda: by_slot(service)[1]["restarts"] == 1, SOON, "it died")
    wait_until(lambda: by_slot(service)[1]["state"] == "serving", SOON, "it is replaced")


def test_nothing_of_a_spare_is_left_at_the_broker(
    start: Start, notify: NotifySocket, rabbit: Vhost
) -> None:
    config = with_spares(1)
    config["DEFAULT"] = {**config["DEFAULT"], "transport_url": rabbit.url}
    service = start("Working", config=config, notify=notify)
    service.wait_ready()
    says(service, "2/2 workers serving, 1 spare")
    before = sorted(rabbit.queues())
    (own,) = (queue for queue in before if ".spare-" in queue)
    spare = by_slot(service)[FIRST]["pid"]
    assert rabbit.connections(spare) <= 2

    replace(service, 0)
    wait_until(lambda: own not in rabbit.queues(), SOON, "its queue is gone", show=rabbit.queues)
    names = [queue for queue in rabbit.queues() if "_fanout_" not in queue]
    assert sorted(names) == sorted(
        ["compute", "compute.node-1", "compute-alt.node-1.0", "compute-alt.node-1.1"]
        + [queue for queue in names if ".spare-" in queue]
    )
    assert len([queue for queue in names if ".spare-" in queue]) == 1
    assert rabbit.connections(spare) <= 2, "it has its connection still, and no other one"
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert [queue for queue in rabbit.queues() if ".spare-" in queue] == []


def test_a_spare_follows_a_broker_that_was_away(
    start: Start, notify: NotifySocket, rabbit: Vhost
) -> None:
    config = with_spares(1)
    config["DEFAULT"] = {**config["DEFAULT"], "transport_url": rabbit.url}
    config["oslo_messaging_rabbit"] = {"rabbit_retry_interval": 1, "rabbit_interval_max": 2}
    service = start("Working", config=config, notify=notify)
    service.wait_ready()
    says(service, "2/2 workers serving, 1 spare")
    spare = by_slot(service)[FIRST]["pid"]
    rabbit.node.restart()
    wait_until(
        lambda: all(worker["last_probe"] < 1.5 for worker in workers(service)),
        2 * SOON,
        "all are proven again",
        show=lambda: workers(service),
    )
    says(service, "2/2 workers serving, 1 spare")
    assert by_slot(service)[FIRST]["pid"] == spare
    kill(by_slot(service)[1]["pid"])
    service.wait_for_line(rf"worker=1 pid={spare} serving after")


@pytest.mark.parametrize("kind", ["oslo_program", "cotyledon_program"])
def test_a_spare_of_a_program_has_run_main_and_starts_its_services_then(
    run: Run, call: Call, notify: NotifySocket, kind: str
) -> None:
    config = with_spares(1)
    service = run(kind, "--workers=2", notify=notify, config=config)
    service.wait_ready()
    for _ in range(2):
        says(service, "2/2 workers serving, 1 spare")
        before = by_slot(service)
        spare = before[FIRST]["pid"]
        assert answerers(call, 2) == {before[0]["pid"], before[1]["pid"]}
        kill(before[1]["pid"])
        wait_until(partial(serves, service, 1, spare), SOON, "it has the slot")
        assert answerers(call, 2) == {before[0]["pid"], spare}
    assert service.run_command("reload").status == 0
    says(service, "2/2 workers serving, 1 spare")
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()

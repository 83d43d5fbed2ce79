"""Two instances of a foreign program and a manager of ours on one host: what befalls one of them
does not touch the others."""

import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, workers
from tests.functional.service.foreign import SOON, Run, Theirs
from tests.support.callers import Callers, Ledger
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

THREADS = 2  # that call each of those that nothing befalls


def kill_a_worker(service: Launcher) -> None:
    os.kill(workers(service)[0]["pid"], signal.SIGKILL)
    wait_until(
        lambda: workers(service)[0]["restarts"] == 1 and workers(service)[0]["state"] == "serving",
        SOON,
        "another one serves",
    )


def kill_the_master(service: Launcher) -> None:
    service.signal(signal.SIGKILL)
    service.wait()
    service.assert_nothing_left()
    service.start_again()
    service.wait_ready()


def reload(service: Launcher) -> None:
    answer = service.run_command("reload")
    assert (answer.status, answer.stderr) == (0, "")


def stop(service: Launcher) -> None:
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    service.assert_nothing_left()


FATES: tuple[Callable[[Launcher], None], ...] = (kill_a_worker, kill_the_master, reload, stop)


def pids(service: Launcher) -> list[int]:
    """Of the master and the workers."""
    return [service.master, *(worker["pid"] for worker in workers(service))]


@pytest.mark.parametrize(
    ("kind", "victim"), [("oslo_program", "node-1"), ("cotyledon_program", "manager")]
)
def test_what_befalls_one_does_not_touch_the_others(
    run: Run,
    start: Start,
    rabbit: Vhost,
    tmp_path: Path,
    transport: str | None,
    *,
    kind: str,
    victim: str,
) -> None:
    services: dict[str, tuple[Launcher, str, Path]] = {}
    for host in ("node-1", "node-2"):
        path = tmp_path / host
        path.mkdir()
        theirs = Theirs(
            path / "program.conf", host=host, state_path=path, transport_url=rabbit.url
        )
        service = run(kind, "--workers=2", arguments=(f"--config-file={theirs.path}",))
        services[host] = service, rabbit.url, path
    own = FAST | {"DEFAULT": FAST["DEFAULT"] | {"host": "manager"}}
    manager = start("Working", config=own)
    url = transport or f"unix://{manager.runtime_path}/bus"
    services["manager"] = manager, url, manager.state_path
    for service, _, _ in services.values():
        service.wait_ready()

    service, _, _ = services.pop(victim)
    before = {host: pids(other) for host, (other, _, _) in services.items()}
    ledgers = {host: Ledger(path) for host, (_, _, path) in services.items()}
    with ExitStack() as stack:
        callers = {
            host: stack.enter_context(Callers(url, host, threads=THREADS))
            for host, (_, url, _) in services.items()
        }
        for befall in FATES:
            for ledger in ledgers.values():
                ledger.wait_for(len(ledger.executions()) + 20)
            befall(service)
        for ledger in ledgers.values():
            ledger.wait_for(len(ledger.executions()) + 20)
        tallies = {host: caller.end() for host, caller in callers.items()}
    for host, (other, _, _) in services.items():
        assert tallies[host].answered
        assert not tallies[host].failed
        assert not tallies[host].wrong
        assert max(ledgers[host].executions().values()) == 1
        assert pids(other) == before[host]
        stop(other)


def test_two_instances_on_one_host_have_queues_of_their_own(
    run: Run, rabbit: Vhost, tmp_path: Path
) -> None:
    """With use_queue_manager, where names of queues come from host and process name."""
    found: list[set[str]] = []
    services: list[Launcher] = []
    for name in ("one", "two"):
        path = tmp_path / name
        path.mkdir()
        theirs = Theirs(
            path / "program.conf",
            host="node-1",
            state_path=path,
            transport_url=f"{rabbit.url}?use_queue_manager=true",
        )
        service = run(
            "oslo_program",
            "--workers=2",
            arguments=(f"--config-file={theirs.path}",),
            env={"OSLO_LOCK_PATH": str(path)},
        )
        service.wait_ready()
        services.append(service)
        found.append({queue for queue in rabbit.queues() if "_fanout_" in queue})
    first, both = found
    assert len(first) == 2
    assert len(both) == 4
    assert first < both
    assert all("oslo_program:main" in queue for queue in both)
    for service in services:
        stop(service)

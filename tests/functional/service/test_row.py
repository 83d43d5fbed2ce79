"""The row of the registry says what is true of the host, and is written once a host."""

import os
import re
import signal
import threading
import time
from functools import partial
from typing import Any

from launcher.cli.services_table import describe
from launcher.registry.engine import open_registry
from tests.functional.service.conftest import Start
from tests.functional.service.faults import put_text, status, with_options
from tests.functional.service.traces import put, trace
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

INTERVAL = 1
QUICK = with_options(DEFAULT={"report_interval": INTERVAL, "service_down_time": 3})


def row(service: Launcher) -> dict[str, Any]:
    """As `services list` shows it, without the second that the command takes to begin."""
    said = re.search(r"^service_down_time = (\d+)$", service.config_file.read_text(), re.MULTILINE)
    registry = open_registry(f"sqlite:///{service.state_path}/launcher.sqlite")
    try:
        (found,) = registry.list_services()
    finally:
        registry.close()
    return describe(found, float(said[1]) if said else 60)


def test_reports_are_written_once_an_interval_however_many_workers_there_are(start: Start) -> None:
    service = start("Traced", "--workers=4", config=QUICK)
    service.wait_ready()
    wait_until(lambda: row(service)["workers_serving"] == 4, 30, "all are counted")

    begun, before = time.monotonic(), row(service)["report_count"]
    wait_until(lambda: row(service)["report_count"] >= before + 5, 30, "five reports")
    written = row(service)["report_count"] - before
    elapsed = time.monotonic() - begun

    assert written <= elapsed / INTERVAL + 2  # four times as many, were each worker to write


def test_the_row_follows_what_workers_do(start: Start) -> None:
    config = {**QUICK, "DEFAULT": QUICK["DEFAULT"] | {"start_timeout": 3}}
    service = start("Faulty", "--workers=3", config=config)
    service.wait_ready()
    wait_until(lambda: row(service)["workers_serving"] == 3, 30, "all are counted")
    put_text(service, "fault-init_host", "hang")  # of the next one, until its time is over
    os.kill(service.workers()[2], signal.SIGKILL)
    wait_until(lambda: row(service)["workers_serving"] == 2, 30, "one is missed")
    wait_until(lambda: row(service)["workers_serving"] == 3, 30, "it is replaced")
    assert (row(service)["state"], row(service)["workers"]) == ("up", 3)


def says(service: Launcher, number: int) -> bool:
    """Whether so many are wanted, and serve."""
    found = row(service)
    assert found["workers_serving"] <= found["workers"]
    return (found["workers"], found["workers_serving"]) == (number, number)


def test_the_row_follows_a_scale_at_once(start: Start) -> None:
    """Long before the next report or round of the lead, and with no number that never was."""
    seldom = {"report_interval": 600, "service_down_time": 1200, "periodic_fuzzy_delay": 0}
    health = {"beat_timeout": 1800, "probe_interval": 600}
    service = start("Traced", "--workers=2", config={"DEFAULT": seldom, "health": health})
    service.wait_ready()
    wait_until(lambda: row(service)["workers_serving"] == 2, 30, "all are counted")
    for number in (4, 1, 2):
        assert service.run_command("scale", str(number)).status == 0
        wait_until(partial(says, service, number), 30, f"{number} are counted")
    os.kill(service.workers()[1], signal.SIGKILL)
    wait_until(lambda: status(service)["workers"][1]["restarts"] == 1, 30, "it is replaced")
    wait_until(lambda: row(service)["workers_serving"] == 2, 30, "it is counted")


def test_a_drain_is_called_one_and_its_end_is_down(start: Start) -> None:
    service = start("Traced", "--workers=2", config=QUICK)
    service.wait_ready()
    words = ["call", "slow_echo", "value=7", "until=done", "--timeout=60"]
    caller = threading.Thread(target=service.run_command, args=words)
    caller.start()
    wait_until(lambda: trace(service)["slow_echo"] == 1, 30, "the call is in hand")

    service.signal(signal.SIGTERM)
    wait_until(lambda: row(service)["state"] == "draining", 30, "the row says draining")
    put(service, "done")
    assert service.wait() == 0

    assert (row(service)["state"], row(service)["workers_serving"]) == ("down", 0)
    caller.join(30)


def test_it_is_down_at_once_though_a_sibling_never_joined(start: Start) -> None:
    options = {"service_down_time": 600, "start_timeout": 90}  # for as long as it is held
    config = {**QUICK, "DEFAULT": QUICK["DEFAULT"] | options}
    service = start("Held", "--workers=2", config=config)
    wait_until(lambda: trace(service)["post_start_hook"] == 2, 30, "worker 1 is held")
    wait_until(lambda: row(service)["workers_serving"] == 1, 30, "worker 0 reports")

    service.signal(signal.SIGTERM)
    service.wait_for_line("worker=0 .* stopped$")
    put(service, "go")
    assert service.wait() == 0

    assert row(service)["state"] == "down"


def test_what_is_killed_as_a_whole_is_down_when_its_reports_have_ceased(start: Start) -> None:
    service = start("Traced", "--workers=2", config=QUICK)
    service.wait_ready()
    wait_until(lambda: row(service)["state"] == "up", 30, "it reports")

    service.signal(signal.SIGKILL)
    service.wait()

    wait_until(lambda: row(service)["state"] == "down", 30, "it is down")
    assert row(service)["workers_serving"] == 0

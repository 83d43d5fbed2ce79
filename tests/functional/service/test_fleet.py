"""Several services in one table: who owns a row, what an operator does, which versions run."""

import json
import os
import re
import signal
from functools import partial
from pathlib import Path
from typing import Any

from launcher.registry.engine import open_registry
from launcher.registry.records import Start as RegistryStart
from launcher.registry.service_version import SERVICE_VERSION
from tests.functional.service.conftest import Start
from tests.functional.service.faults import put_text, status, with_options
from tests.support.commands import SCRIPTS
from tests.support.databases import Database
from tests.support.notify_socket import NotifySocket
from tests.support.processes import Launcher
from tests.support.terminal import CTRL_C, Terminal
from tests.support.waiting import wait_until

SOON = 30.0
OTHER = "another service of this name runs on "
QUICK = {"report_interval": 1, "service_down_time": 3}


def on(database: Database, host: str = "node-1", **more: object) -> dict[str, dict[str, object]]:
    """The configuration of a service that uses a database."""
    main: dict[str, object] = {**QUICK, "host": host, **more}
    return with_options(DEFAULT=main, database={"connection": database.url})


def listed(service: Launcher, *options: str) -> list[dict[str, Any]]:
    """What `services list --json` says."""
    done = service.run_command("services", "list", "--json", *options)
    assert done.status == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def do(service: Launcher, *words: str) -> str:
    """What `services …` says on stdout; it succeeds."""
    done = service.run_command("services", *words)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout.rstrip("\n")


def headline(service: Launcher) -> str:
    """The line of STATUS."""
    return str(status(service)["headline"])


def says(service: Launcher, text: str) -> bool:
    """Whether STATUS does."""
    return text in headline(service)


def test_two_services_of_one_name_both_say_so(database: Database, start: Start) -> None:
    """The one that came last owns the row. The end of either is the end of the complaint, and
    marks down no other."""
    first = start("Working", config=on(database))
    first.wait_ready()
    second = start("Working", config=on(database))
    second.wait_ready()

    for service, other in ((first, second), (second, first)):
        told = f"{OTHER}{os.uname().nodename} (pid {other.master()}) since 20"
        wait_until(partial(says, service, told), SOON, f"{told} is in STATUS")
        assert headline(service).startswith("degraded: 2/2 workers serving; ")
        health = json.loads(service.run_command("health", "--json").stdout)
        assert told in health["checks"]["service:row"][0]["output"]
        assert health["status"] == "warn"
        # By each lead once: in a start the first worker that serves leads, then the lowest slot.
        assert service.output.count(told) in {1, 2}

    first.signal(signal.SIGTERM)
    assert first.wait() == 0

    (row,) = listed(second)
    assert (row["state"], row["workers_serving"]) == ("up", 2) or row["state"] == "degraded"
    wait_until(lambda: OTHER not in headline(second), SOON, "the complaint is over")
    assert "no other service of this name reports any more" in second.output
    second.signal(signal.SIGTERM)
    assert second.wait() == 0
    assert [row["state"] for row in listed(second)] == ["down"]


def test_the_row_of_a_service_that_is_killed_goes_to_the_other_of_its_name(
    database: Database, start: Start
) -> None:
    first = start("Working", config=on(database))
    first.wait_ready()
    second = start("Working", config=on(database))
    second.wait_ready()
    wait_until(lambda: OTHER in headline(first), SOON, "the first one has noticed")

    second.signal(signal.SIGKILL)
    second.wait()

    place = f"{os.uname().nodename} (pid {first.master()})"
    wait_until(lambda: listed(first)[0]["started_on"] == place, SOON, "the first one owns it")
    wait_until(lambda: OTHER not in headline(first), SOON, "the complaint is over")
    wait_until(lambda: listed(first)[0]["state"] == "up", SOON, "it is up")


def test_a_start_after_a_kill_finds_no_other(database: Database, start: Start) -> None:
    service = start("Working", config=on(database, service_down_time=600))
    service.wait_ready()
    wait_until(lambda: listed(service)[0]["state"] == "up", SOON, "it reports")
    service.signal(signal.SIGKILL)
    service.wait()

    service.start_again()
    service.wait_ready()
    before = listed(service)[0]["report_count"]
    wait_until(lambda: listed(service)[0]["report_count"] > before, SOON, "it reports")

    assert OTHER not in headline(service)
    assert OTHER not in service.output


def test_an_operator_takes_a_service_out_and_back(database: Database, start: Start) -> None:
    service = start("Working", config=on(database))
    service.wait_ready()
    name = "compute-launcher on host node-1"
    wait_until(lambda: listed(service)[0]["state"] == "up", SOON, "it is up")

    assert do(service, "disable", "--reason", "new disks") == f"{name} is disabled (new disks)"
    assert do(service, "force-down").startswith(f"{name} is forced down")
    (row,) = listed(service, "--state", "forced-down", "--state", "disabled")
    assert (row["state"], row["status"], row["reason"]) == ("forced down", "disabled", "new disks")
    assert listed(service, "--state", "up") == []
    values = do(service, "list", "-f", "value", "-c", "host", "-c", "state", "-c", "workers")
    assert values == "node-1 forced-down,disabled 2/2"

    assert do(service, "force-down", "--unset").startswith(f"{name} is not forced down any more")
    assert do(service, "enable") == f"{name} is enabled"
    (row,) = listed(service)
    assert (row["state"], row["status"], row["reason"]) == ("up", "enabled", None)


def test_a_service_that_is_up_is_deleted_by_force_only_and_comes_back_disabled(
    database: Database, start: Start
) -> None:
    service = start("Working", config=on(database))
    service.wait_ready()
    wait_until(lambda: listed(service)[0]["state"] == "up", SOON, "it reports")
    do(service, "disable", "--reason", "new disks")
    before = listed(service)[0]["report_count"]
    wait_until(lambda: listed(service)[0]["report_count"] > before + 1, SOON, "it knows")

    refused = service.run_command("services", "delete")

    assert refused.status == 1
    told = (
        r"error: compute-launcher on host node-1 is (up|degraded): it reported \d s ago; stop it"
    )
    assert re.search(told, refused.stderr)
    assert do(service, "delete", "--force").startswith("compute-launcher on host node-1 is delet")
    service.wait_for_line("the row was deleted, and is made anew")
    wait_until(lambda: listed(service) and listed(service)[0]["state"] == "up", SOON, "it is back")
    (row,) = listed(service)
    assert (row["status"], row["reason"]) == ("disabled", "new disks")


def test_a_start_that_is_too_old_for_the_fleet_is_refused(
    database: Database, start: Start
) -> None:
    registry = open_registry(database.url)
    newer = RegistryStart("n" * 16, "new", SERVICE_VERSION + 2, SERVICE_VERSION + 1)
    registry.register_service("new", "b", topic="t", version="0.4", workers=1, start=newer)

    service = start("Working", config=on(database))

    assert service.wait(SOON) == 78
    told = (
        f"compute-launcher on host node-1 has service version {SERVICE_VERSION}, and b 0.4 on "
        f"host new works with {SERVICE_VERSION + 1} or newer only; upgrade this host"
    )
    assert told in service.output.splitlines()[-1]
    assert "Traceback" not in service.output
    assert [row.host for row in registry.list_services()] == ["new"]
    registry.close()


def test_a_start_that_is_older_than_others_says_so(database: Database, start: Start) -> None:
    registry = open_registry(database.url)
    newer = RegistryStart("n" * 16, "new", SERVICE_VERSION + 1, SERVICE_VERSION)
    registry.register_service("new", "b", topic="t", version="0.4", workers=1, start=newer)
    registry.close()

    service = start("Working", config=on(database))
    service.wait_ready()

    told = f"service version {SERVICE_VERSION} and others have up to {SERVICE_VERSION + 1}"
    service.wait_for_line(told)
    found = {row["host"]: row["service_version"] for row in listed(service, "--sort", "age")}
    assert found == {"node-1": SERVICE_VERSION, "new": SERVICE_VERSION + 1}


def test_a_host_whose_clock_is_wrong_is_told_and_its_row_is_right(
    database: Database, start: Start, notify: NotifySocket
) -> None:
    service = start("Fast", config=on(database), notify=notify)
    service.wait_ready()
    put_text(service, "fast", "")

    told = "the clock of this host is 300 s ahead of the database's"
    wait_until(lambda: told in headline(service), SOON, "STATUS says it")
    wait_until(
        lambda: any(told in one for one in notify.values("STATUS")), SOON, "so does systemd"
    )

    (row,) = listed(service)
    assert row["state"] == "up"
    assert row["age"] < 60
    Path(service.state_path, "fast").unlink()
    wait_until(lambda: told not in headline(service), SOON, "it is over")
    assert service.output.count(told) == 1
    service.wait_for_line("the clock of this host is right again")


def test_the_list_is_refreshed_until_ctrl_c(start: Start, terminal: Terminal) -> None:
    service = start("Working", config=with_options(DEFAULT={**QUICK, "host": "node-1"}))
    service.wait_ready()
    script: list[str | Path] = [SCRIPTS / "compute-launcher", "services", "list", "--watch"]
    process = terminal.start(script, env=service.environment | {"TERM": "xterm"})
    terminal.wait_for(r"node-1 +compute-launcher +up +2/2", SOON)
    do(service, "disable", "--reason", "new disks")
    terminal.wait_for(r"node-1 +compute-launcher +up, disabled +2/2 ", SOON)

    terminal.press(CTRL_C)

    assert process.wait(SOON) == 0

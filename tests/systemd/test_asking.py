"""root asks a service that runs as a user of its own, in a sandbox."""

import json

from tests.systemd.asking import ask, ping_all
from tests.systemd.unit import Unit


def test_root_sees_how_the_workers_are(unit: Unit) -> None:
    unit.start()
    headline, titles, *workers = ask(unit, "status").splitlines()
    assert headline == "2/2 workers serving"
    assert titles.split()[0] == "SLOT"
    assert len(workers) == 2
    found = json.loads(ask(unit, "status", "--json"))
    assert sorted(worker["pid"] for worker in found["workers"]) == sorted(unit.workers())
    assert all(worker["memory"] for worker in found["workers"])
    assert ask(unit, "health").startswith("pass: ")
    assert "Calls in hand" in ask(unit, "status", "--report", "1")


def test_root_scales_and_replaces(unit: Unit) -> None:
    unit.start()
    before = unit.main_pid, set(unit.workers())
    assert ask(unit, "scale", "4") == "scaled to 4 workers"
    unit.wait_for("^4/4 workers serving$", "StatusText", 5)
    assert before[1] < set(unit.workers())
    ask(unit, "restart-worker", "0")
    assert len(before[1] & set(unit.workers())) == 1
    ask(unit, "scale", "2")
    unit.wait_for("^2/2 workers serving$", "StatusText", 5)
    assert (unit.state, unit.main_pid) == ("active", before[0])
    ping_all(unit, 2)


def test_root_reloads(unit: Unit) -> None:
    """By our own command, which is not the one that the unit runs as its user."""
    unit.start()
    before, workers = unit.main_pid, set(unit.workers())
    unit.write_configuration("[DEFAULT]", "report_interval = 5")
    assert ask(unit, "reload") == "reloaded"
    assert (unit.state, unit.main_pid) == ("active", before)
    assert not set(unit.workers()) & workers
    ping_all(unit, 2)


def test_a_report_of_the_master_is_in_the_journal(unit: Unit) -> None:
    unit.start()
    unit.container.run("systemctl", "kill", "--kill-who=main", "--signal=USR2", unit.name)
    unit.wait_for_message("Guru Meditation", 10)
    assert unit.state == "active"

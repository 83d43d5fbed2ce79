"""200 hosts report to one server, which is restarted: one statement a report, few connections, two
log lines a process, and no herd when it is back."""

from functools import partial

import pytest

from tests.bench.fleet import restart, simulate
from tests.bench.fleet_figures import Plan
from tests.support.databases import Database, Server

PLAN = Plan(hosts=200, processes=2, interval=4.0, lasts=20.0, away=2.0)
POOL = 10  # connections that one registry may open
SELECTS = 3  # of the first report of a host: its row, the others, the newest version


def test_a_fleet_outlives_a_restart_of_its_database(server: Server, place: Database) -> None:
    found = simulate(PLAN, place, partial(restart, server, PLAN.away))

    assert found["hosts_back"] == PLAN.hosts
    assert found["failed"] > 0
    assert found["outages_logged"] == PLAN.processes
    assert max(*found["connections"], found["connections_most"]) <= PLAN.processes * POOL
    asked, cut_off = found["statements"], PLAN.processes * POOL  # under way when the server went
    assert PLAN.hosts <= asked["INSERT"] <= PLAN.hosts + cut_off
    assert asked["UPDATE"] == pytest.approx(found["reports"], abs=cut_off)
    assert asked["SELECT"] <= SELECTS * (PLAN.hosts + cut_off)
    assert found["back_after_most_s"] > PLAN.interval / 2
    assert found["most_due_in_a_second_after"] < 0.75 * PLAN.hosts

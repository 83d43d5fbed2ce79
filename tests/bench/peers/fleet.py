"""Our list of services and our reports, as `nova_fleet` does nova's:

    python -m tests.bench.peers.fleet URL fill N
    python -m tests.bench.peers.fleet URL list
    python -m tests.bench.peers.fleet URL reports SECONDS

`list` says on stderr the seconds of processor time without the imports; `reports` how many were
made a second, and the seconds of processor time of each.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from oslo_config import cfg
from sqlalchemy import insert

from launcher.cli import services
from launcher.cli.db_command import bring_up
from launcher.config import loader
from launcher.registry.engine import open_database, open_registry
from launcher.registry.models import services as table
from launcher.registry.records import Belief, ServiceState, Start

BINARY = "compute-launcher"
HOST = "compute-{:05}.cell-1.example"
START = Start("0" * 32, "compute-00000 (pid 1)", 2, 1)
DAY = timedelta(days=1)


def main(url: str, what: str, number: float = 0) -> None:
    """See above."""
    if what == "fill":
        fill(url, int(number))
    elif what == "list":
        show(url)
    else:
        reports(url, number)


def fill(url: str, number: int) -> None:
    """Make the tables, and services that are up; one in a hundred is disabled."""
    bring_up(url)
    database = open_database(url)
    rows = list(_rows(number))
    database.transact(lambda connection: connection.execute(insert(table), rows))
    database.close()


def _rows(number: int) -> Iterator[dict[str, object]]:
    now = datetime.now(UTC)
    for one in range(number):
        yield {
            "host": HOST.format(one),
            "binary": BINARY,
            "topic": "compute",
            "version": "0.2.0",
            "report_count": 1,
            "last_seen_up": now,
            "state": "up",
            "workers": 4,
            "workers_serving": 4,
            "disabled": one % 100 == 1,
            "disabled_reason": "new disks" if one % 100 == 1 else None,
            "created_at": now,
            "updated_at": now,
            "service_version": START.service_version,
            "oldest_version": START.oldest_version,
            "start_id": START.id if one == 0 else f"{one:032}",
            "started_on": f"compute-{one:05} (pid 1)",
            "started_at": now,
        }


def show(url: str) -> None:
    """`services list`, without its start."""
    conf = cfg.ConfigOpts()
    loader.load(conf, BINARY, ["--config-file=/dev/null"])
    conf.set_override("connection", url, group="database")
    began = time.process_time()
    services.show_list(conf, argparse.Namespace(**LIST), lambda look: look())
    sys.stderr.write(f"{time.process_time() - began}\n")


LIST: dict[str, object] = {
    "format": "table",
    "binary": None,
    "host": None,
    "state": [],
    "sort": [],
    "column": [],
}


def reports(url: str, seconds: float) -> None:
    """As the lead of a host reports."""
    registry = open_registry(url)
    now = datetime.now(UTC)
    belief = Belief(START, now, False, None, now - DAY, now + DAY, 60.0)

    def report() -> None:
        found = registry.report_service(
            HOST.format(0),
            BINARY,
            state=ServiceState.UP,
            workers=4,
            workers_serving=4,
            belief=belief,
        )
        assert found is None

    report()  # connects
    number, began, cpu = 0, time.monotonic(), time.process_time()
    while time.monotonic() < began + seconds:
        report()
        number += 1
    took, cpu = time.monotonic() - began, time.process_time() - cpu
    sys.stderr.write(f"{number / took} {cpu / number}\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(float, sys.argv[3:]))

"""A fleet of hosts that report to one database server, and what a restart of it does to them.

    python -m tests.bench.fleet [--server postgresql] [--hosts 10000] [--processes 10]
        [--interval 10] [--minutes 10] [--away 10]

The store, the service group and the timing of its task are the real ones. The hosts of a process
share one registry, as hosts behind a conductor do. A line of JSON at the end.
"""

import argparse
import heapq
import json
import math
import multiprocessing
import resource
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import event

from launcher.board.board import Board
from launcher.board.slot_fields import SECOND
from launcher.cli.db_command import bring_up
from launcher.errors import DatabaseUnavailable
from launcher.registry.engine import open_database
from launcher.registry.interface import Registry
from launcher.registry.outage import Outage
from launcher.registry.store import SqlRegistry
from launcher.serve.manager import TaskSpec
from launcher.serve.servicegroup import ServiceGroup
from launcher.serve.task import Task
from tests.bench.fleet_figures import Found, Plan, Report, judge
from tests.support.databases import SERVERS, Database, Server
from tests.support.waiting import elapse

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

THREADS = 8  # of a process: fewer than connections that its registry may open
DOWN_INTERVALS = 6  # service_down_time, in intervals, as by default
LOOK_SECONDS = 1.0
START_SECONDS = 120.0
_fork = multiprocessing.get_context("fork")


class Course(NamedTuple):
    """When a simulation takes place. Monotonic seconds.

    :ivar end: not known before the server is back.
    """

    begun: float
    end: "Synchronized[float]"


class Crowd:
    """Some hosts of the fleet, in this process."""

    def __init__(self, numbers: Sequence[int], registry: Registry, interval: float) -> None:
        self.reports: list[Report] = []
        self._boards = [_serving_board() for _ in numbers]
        self._groups = [
            ServiceGroup(
                registry,
                board,
                board.slot(0),
                host=f"host-{number:05}",
                binary="compute-launcher",
                topic="compute",
                report_interval=interval,
                service_down_time=DOWN_INTERVALS * interval,
            )
            for number, board in zip(numbers, self._boards, strict=True)
        ]
        self._registered = [False] * len(numbers)
        spec = TaskSpec("report", interval, True, 60, "host")
        self._tasks = [Task(1, spec, group.report) for group in self._groups]
        self._numbers = numbers

    def run(self, course: Course, interval: float) -> None:
        """The hosts start spread over the first interval."""
        count = len(self._tasks)
        for index, task in enumerate(self._tasks):
            task.due = int((course.begun + interval * index / count) * SECOND)
        queue = [(task.due, index) for index, task in enumerate(self._tasks)]
        heapq.heapify(queue)
        pause = threading.Event()
        with ThreadPoolExecutor(THREADS) as threads:
            while queue and queue[0][0] < course.end.value * SECOND:
                due, index = heapq.heappop(queue)
                pause.wait(max(0.0, due / SECOND - time.monotonic()))
                task = self._tasks[index]
                task.started = max(due, time.monotonic_ns())
                heapq.heappush(queue, (task.due_again, index))
                threads.submit(self._perform, index, due)

    def _perform(self, index: int, due: int) -> None:
        began = time.monotonic()
        failed = False
        try:
            if not self._registered[index]:
                self._groups[index].register()
                self._groups[index].join()
                self._registered[index] = True
            self._groups[index].report()
        except DatabaseUnavailable:
            failed = True
        took = time.monotonic() - began
        late = began - due / SECOND
        self.reports.append(Report(self._numbers[index], began, took, late, failed))


def _serving_board() -> Board:
    board = Board(capacity=1)
    board.want(1, start_timeout=60)
    board.slot(0).occupy(1, 60)
    board.slot(0).serve(0, 0)
    return board


def simulate(plan: Plan, database: Database, restart: Callable[[], None]) -> dict[str, Any]:
    """Have the fleet report, call `restart` half way, and return the figures. The second half
    begins when the server is back: how long that takes is the machine's affair."""
    begun = time.monotonic() + 1 + plan.hosts / 2000  # time to make the hosts
    course = Course(begun, _fork.Value("d", math.inf))
    pipes = [_start(plan, number, database.url, course) for number in range(plan.processes)]
    connections: list[int] = []
    elapse(begun - time.monotonic() + plan.lasts / 2)
    connections.append(count_connections(database))
    went = time.monotonic()
    restart()
    back = time.monotonic()
    course.end.value = back + plan.lasts / 2
    for _ in range(int(min(plan.interval, plan.lasts / 2) / LOOK_SECONDS)):
        elapse(LOOK_SECONDS)
        connections.append(count_connections(database))
    found = [pipe.recv() for pipe in pipes]
    figures = judge(plan, found, begun, went, back)
    before, *after = connections
    return figures | {"connections": (before, after[-1]), "connections_most": max(after)}


def _start(plan: Plan, number: int, url: str, course: Course) -> Connection:
    ours, theirs = _fork.Pipe(duplex=False)
    numbers = range(number, plan.hosts, plan.processes)
    args = plan, numbers, url, course, theirs
    _fork.Process(target=_simulate_some, args=args, daemon=True).start()
    theirs.close()
    return ours


def _simulate_some(
    plan: Plan, numbers: Sequence[int], url: str, course: Course, pipe: Connection
) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each board has a descriptor
    told: list[str] = []
    database = open_database(url, outage=Outage(told.append))
    statements: Counter[str] = Counter()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements[statement.split(maxsplit=1)[0]] += 1

    with closing(SqlRegistry(database)) as registry:
        crowd = Crowd(numbers, registry, plan.interval)
        event.listen(database._engine, "before_cursor_execute", note)
        crowd.run(course, plan.interval)
    pipe.send(Found(crowd.reports, statements, sum(not reason for reason in told)))


def count_connections(database: Database) -> int:
    """To the database, without the one that asks."""
    assert database.server is not None
    others = {
        "postgresql": "pg_stat_activity WHERE pid <> pg_backend_pid() AND datname",
        "mariadb": "information_schema.processlist WHERE id <> connection_id() AND db",
    }[database.server.kind]
    ((count,),) = database.server.execute(f"SELECT count(*) FROM {others} = '{database.name}'")
    return int(count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=SERVERS, default="postgresql")
    parser.add_argument("--hosts", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--interval", type=float, default=10, help="of reports, in seconds")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--away", type=float, default=10, help="seconds without the server")
    args = parser.parse_args()
    plan = Plan(args.hosts, args.processes, args.interval, 60 * args.minutes, args.away)
    with SERVERS[args.server]() as server, server.database() as database:
        bring_up(database.url)
        figures = simulate(plan, database, lambda: restart(server, plan.away))
    sys.stdout.write(json.dumps({"server": args.server} | figures) + "\n")


def restart(server: Server, away: float) -> None:
    """As an operator does; it is away for so many seconds."""
    server.stop()
    elapse(away)
    server.start()


if __name__ == "__main__":
    main()

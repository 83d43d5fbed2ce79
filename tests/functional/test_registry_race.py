"""Siblings meet at the registry: real processes, released by a barrier, on each kind of database.

LAUNCHER_RACE_ROUNDS=200 runs more rounds than the few of a usual run. What is bounded in time is a
step: the way from one barrier to the next, however many rounds there are.
"""

import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import DatabaseUnavailable, ServiceNotFound
from launcher.registry.engine import make_database, reached
from launcher.registry.interface import Registry
from launcher.registry.records import ServiceState
from launcher.registry.store import SqlRegistry
from tests.support.databases import Database

SIBLINGS = 64
ROUNDS = int(os.environ.get("LAUNCHER_RACE_ROUNDS", "8"))
DEADLINE = 60.0  # seconds, for any one step of a test
MOST_SECONDS = 2 * DEADLINE + 10.0 * ROUNDS  # of a test
BINARY = "compute-launcher"
_fork = multiprocessing.get_context("fork")

pytestmark = pytest.mark.timeout(MOST_SECONDS)


def run_together(count: int, work: Callable[[Barrier], Any]) -> list[Any]:
    """What `work` returned, or the text of what it raised, in each of `count` processes. One that
    is late at the barrier, or has not ended a while after the first one, is an error."""
    barrier = _fork.Barrier(count, timeout=DEADLINE)
    results = _fork.Queue()

    def run() -> None:
        try:
            results.put(work(barrier))
        except BaseException as error:  # noqa: BLE001  # whatever it is, the test is to show it
            barrier.abort()  # nobody is to wait for this one
            results.put(f"{type(error).__name__}: {error} <- {error.__cause__!r}")

    processes = [_fork.Process(target=run) for _ in range(count)]
    try:
        for process in processes:
            process.start()
        first = results.get(timeout=MOST_SECONDS)
        return [first, *(results.get(timeout=DEADLINE) for _ in processes[1:])]
    finally:
        for process in processes:
            process.kill()
            process.join()


def open_registry(url: str) -> Registry:
    """As a worker does, but with all the time that 64 processes on one machine may need."""
    return SqlRegistry(reached(make_database(url, DEADLINE)))


def register(registry: Registry, host: str) -> int:
    """Register as each worker does; the id of the row."""
    record = registry.register_service(
        host, BINARY, topic="compute", version="1.0", workers=SIBLINGS
    )
    assert (record.host, record.binary, record.workers) == (host, BINARY, SIBLINGS)
    return record.id


@pytest.fixture
def url(database: Database) -> str:
    """Of each kind in turn."""
    return database.url


@contextmanager
def opened(url: str) -> Iterator[Registry]:
    """For the test's own process, in which nothing stays open."""
    with closing(open_registry(url)) as registry:
        yield registry


def hosts_of_rounds() -> list[str]:
    """Each round is a host that nobody has seen."""
    return [f"host-{number:03}" for number in range(ROUNDS)]


def test_of_64_siblings_that_register_at_once_all_use_the_one_row(url: str) -> None:
    """A sibling runs ahead of none of the others."""
    hosts = hosts_of_rounds()

    def work(barrier: Barrier) -> list[int]:
        registry = open_registry(url)
        ids = []
        for host in hosts:
            barrier.wait()
            ids.append(register(registry, host))
        return ids

    seen = run_together(SIBLINGS, work)

    with opened(url) as registry:
        rows = registry.list_services()
    assert [row.host for row in rows] == hosts
    assert seen == [[row.id for row in rows]] * SIBLINGS


def test_64_siblings_register_though_the_row_is_deleted_meanwhile(url: str) -> None:
    """Each of them takes its turn at deleting the row, while the others register."""

    def work(barrier: Barrier) -> int:
        registry = open_registry(url)
        me = next(turn)
        deleted = 0
        for number, host in enumerate(hosts_of_rounds()):
            register(registry, host)
            barrier.wait()
            if me == number % SIBLINGS:
                with suppress(ServiceNotFound):
                    registry.delete_service(host, BINARY)
                    deleted += 1
            register(registry, host)
            if me == (number + 1) % SIBLINGS:
                assert len(registry.list_services(host)) <= 1
        return deleted

    turn = _Turns()
    seen = run_together(SIBLINGS, work)

    assert all(isinstance(deleted, int) for deleted in seen), seen
    assert sum(seen) > 0
    with opened(url) as registry:
        for host in hosts_of_rounds():
            register(registry, host)
            assert len(registry.list_services(host)) == 1


class _Turns:
    """Gives each process another number."""

    def __init__(self) -> None:
        self._next = _fork.Value("i", 0)

    def __next__(self) -> int:
        with self._next.get_lock():
            self._next.value += 1
            return int(self._next.value) - 1


def test_a_row_that_keeps_vanishing_is_made_anew_or_given_up_with_a_sentence(url: str) -> None:
    """One process deletes the row whenever it is there, while the others register."""
    open_registry(url).close()
    enough = _fork.Event()
    deletions = _fork.Value("i", 0)

    def delete() -> None:
        registry = open_registry(url)
        while not enough.is_set():
            try:
                registry.delete_service("host", BINARY)
                deletions.value += 1
            except ServiceNotFound:
                continue

    def work(barrier: Barrier) -> list[str]:
        registry = open_registry(url)
        outcomes = []
        for _ in range(4):
            barrier.wait()
            try:
                register(registry, "host")
                outcomes.append("registered")
            except DatabaseUnavailable as error:
                outcomes.append(str(error))
        return outcomes

    deleter = _fork.Process(target=delete)
    deleter.start()
    try:
        seen = run_together(SIBLINGS, work)
    finally:
        enough.set()
        deleter.join(DEADLINE)

    assert all(isinstance(outcomes, list) for outcomes in seen), seen
    counted = Counter(outcome for outcomes in seen for outcome in outcomes)
    given_up = [text for text in counted if text != "registered"]
    assert all("keeps coming and going" in text for text in given_up), given_up
    assert counted["registered"] > SIBLINGS
    assert deletions.value > 0
    with opened(url) as registry:
        assert register(registry, "host") == registry.list_services()[0].id


@pytest.mark.parametrize("attempt", range(4))
def test_64_processes_may_open_a_missing_file_at_once(tmp_path: Path, attempt: int) -> None:
    """One makes the tables; nobody sees half of them, nobody is told to go away."""
    url = f"sqlite:///{tmp_path}/launcher.sqlite"

    def work(barrier: Barrier) -> int:
        barrier.wait()
        registry = open_registry(url)
        found = register(registry, "host")
        registry.close()
        return found

    assert len(set(run_together(SIBLINGS, work))) == 1


def test_64_processes_that_report_at_once_are_all_counted(url: str) -> None:
    """A report is an increment in the database, so none is lost."""
    with opened(url) as registry:
        register(registry, "host")

    def work(barrier: Barrier) -> None:
        registry = open_registry(url)
        barrier.wait()
        for _ in range(5):
            registry.report_service(
                "host", BINARY, state=ServiceState.UP, workers=1, workers_serving=1
            )

    assert run_together(SIBLINGS, work) == [None] * SIBLINGS
    with opened(url) as registry:
        (row,) = registry.list_services()
    assert row.report_count == 5 * SIBLINGS


def test_64_threads_of_one_process_share_a_few_connections(url: str) -> None:
    """RPC methods run in as many threads; none is turned away, none gets another's answer."""
    hosts = [f"host-{number}" for number in range(64)]

    with opened(url) as registry, ThreadPoolExecutor(max_workers=64) as threads:
        ids = list(threads.map(lambda host: register(registry, host), hosts))
        rows = registry.list_services()

    assert {row.host: row.id for row in rows} == dict(zip(hosts, ids, strict=True))

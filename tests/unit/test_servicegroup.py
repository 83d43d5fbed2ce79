"""Reports of a service, and the last word of the last worker."""

import errno
import os
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest

from launcher.board.board import Board
from launcher.board.states import Step
from launcher.errors import (
    DatabaseUnavailable,
    DatabaseUnusable,
    LauncherError,
    ServiceNotFound,
)
from launcher.registry.records import Belief, ServiceRecord, ServiceState, Start
from launcher.registry.service_version import SERVICE_VERSION
from launcher.serve import servicegroup
from launcher.serve.servicegroup import ServiceGroup

UP, DRAINING, DOWN = ServiceState.UP, ServiceState.DRAINING, ServiceState.DOWN
DEGRADED = ServiceState.DEGRADED
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ROW = ServiceRecord(
    id=1,
    host="node-1",
    binary="compute-launcher",
    topic="compute",
    version="0.2.0",
    report_count=7,
    last_seen_up=NOW,
    state=UP,
    workers=3,
    workers_serving=3,
    disabled=False,
    disabled_reason=None,
    created_at=NOW,
    as_of=NOW,
    updated_at=None,
    started_at=NOW,
)


class Registry:
    """Remembers reports; raises `error`, or waits in `gate`, where a test wants it to."""

    def __init__(self) -> None:
        self.reports: list[tuple[ServiceState, int]] = []
        self.wanted = 0
        self.found: list[ServiceRecord | None] = []  # what the next reports find
        self.beliefs: list[Belief] = []
        self.remembered: list[ServiceRecord | None] = []
        self.newest = SERVICE_VERSION
        self.row: ServiceRecord | None = None
        self.error: LauncherError | None = None
        self.entered, self.gate = threading.Event(), threading.Event()
        self.gate.set()

    def report_service(
        self,
        host: str,
        binary: str,
        *,
        state: ServiceState,
        workers: int,
        workers_serving: int,
        belief: Belief,
    ) -> ServiceRecord | None:
        assert (host, binary) == ("node-1", "compute-launcher")
        self.beliefs.append(belief)
        self.entered.set()
        assert state is DOWN or self.gate.wait(5)
        if self.error:
            raise self.error
        self.reports.append((state, workers_serving))
        self.wanted = workers
        return self.found.pop(0) if self.found else None

    def register_service(
        self,
        host: str,
        binary: str,
        *,
        topic: str,
        version: str,
        workers: int,
        start: Start,
        remembered: ServiceRecord | None,
    ) -> ServiceRecord:
        assert (host, binary, topic) == ("node-1", "compute-launcher", "compute")
        assert start.service_version == SERVICE_VERSION
        self.error = None
        self.remembered.append(remembered)
        return ROW._replace(start_id=start.id)

    def get_service(self, host: str, binary: str) -> ServiceRecord | None:
        return self.row

    def newest_version(self) -> int:
        return self.newest

    @property
    def states(self) -> list[ServiceState]:
        return [state for state, _ in self.reports]


@pytest.fixture
def board() -> Board:
    board = Board()
    board.want(3, start_timeout=90)
    for slot in board.slots():
        slot.occupy(os.getpid(), 90)
        slot.serve(0, 0)
    return board


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def groups(board: Board, registry: Registry) -> list[ServiceGroup]:
    return [
        ServiceGroup(
            registry,  # type: ignore[arg-type]
            board,
            board.slot(number),
            host="node-1",
            binary="compute-launcher",
            topic="compute",
            report_interval=10,
            service_down_time=60,
            now=lambda: NOW,
        )
        for number in range(3)
    ]


def test_joining_writes_nothing_since_nobody_has_proven_itself_yet(
    groups: list[ServiceGroup], registry: Registry
) -> None:
    groups[0].join()

    assert registry.reports == []


def test_the_row_is_stale_when_another_number_serves(
    groups: list[ServiceGroup], board: Board
) -> None:
    groups[0].join()
    assert groups[0].stale()
    groups[0].report()
    assert not groups[0].stale()
    board.slot(2).vacate(90, 0)
    assert groups[0].stale()


def test_the_row_is_stale_when_another_number_is_wanted(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    groups[0].join()
    groups[0].report()
    assert registry.wanted == 3

    board.want(2, start_timeout=90)

    assert groups[0].stale()
    groups[0].report()
    assert registry.wanted == 2
    assert registry.reports[-1] == (UP, 2)  # the third, which is about to leave, is one too many


def test_a_report_tells_how_many_serve(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    groups[0].join()
    board.slot(2).vacate(90, 0)

    groups[0].report()

    assert registry.reports == [(DEGRADED, 2)]


def test_in_a_stop_the_service_drains(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    groups[0].join()
    board.announce_stop()

    groups[0].report()

    assert registry.states == [DRAINING]


def test_who_has_not_joined_reports_nothing(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    board.announce_stop()

    groups[0].report()
    groups[0].leave()

    assert registry.reports == []


def test_whoever_leaves_last_says_that_the_service_is_down(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    for group in groups:
        group.join()
    board.announce_stop()

    for group in (groups[1], groups[0], groups[2]):
        assert DOWN not in registry.states
        group.leave()

    assert registry.states[-1] is DOWN


def test_a_stop_before_the_first_report_after_an_upgrade_marks_the_row_down(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    """The row is of the master before: it takes the last report of its owner only."""
    registry.row = ROW._replace(start_id="of the master before")
    board.stand_beside(beside=True)
    for group in groups:
        group.register()
        group.join()
    assert registry.remembered == [], "they only read it"
    board.stand_beside(beside=False)
    board.announce_stop()
    for group in groups:
        assert registry.states == []
        group.leave()
    assert registry.remembered == [registry.row]
    assert registry.states == [DOWN]


def test_the_dead_are_not_waited_for(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    groups[0].join()
    board.announce_stop()
    board.slot(1).vacate(90, 0)
    board.slot(2).vacate(90, 0)

    groups[0].leave()

    assert registry.states == [DOWN]


def test_a_sibling_that_was_killed_in_the_stop_is_not_waited_for(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    """Its slot still says SERVING: cotyledon tells nobody of deaths in a stop."""
    with subprocess.Popen(["true"]) as dead:
        os.waitid(os.P_PID, dead.pid, os.WEXITED | os.WNOWAIT)  # a zombie from here on
        for number in (1, 2):
            board.slot(number).put("pid", dead.pid)
        groups[0].join()
        board.announce_stop()

        groups[0].leave()

    assert registry.states == [DOWN]


def test_a_single_worker_that_goes_leaves_the_service_up(
    groups: list[ServiceGroup], registry: Registry
) -> None:
    groups[0].join()

    groups[0].leave()

    assert registry.states == []


def test_leaving_twice_says_it_once(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    for group in groups:
        group.join()
    board.announce_stop()

    for group in [*groups, *groups]:
        group.leave()

    assert registry.states.count(DOWN) == 1


def test_a_report_in_progress_does_not_follow_the_last_word(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    group = groups[0]
    group.join()
    board.announce_stop()
    for number in (1, 2):
        board.slot(number).vacate(90, 0)
    registry.entered.clear()
    registry.gate.clear()
    reporting = threading.Thread(target=group.report)
    reporting.start()
    assert registry.entered.wait(5)

    leaving = threading.Thread(target=group.leave)
    leaving.start()
    leaving.join(0.05)  # in which it would be through, if it did not wait for the report
    registry.gate.set()
    for thread in (reporting, leaving):
        thread.join(5)

    assert registry.states == [DRAINING, DOWN]


def test_a_report_that_never_ends_does_not_keep_anybody_from_leaving(
    groups: list[ServiceGroup],
    registry: Registry,
    board: Board,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(servicegroup, "LEAVE_SECONDS", 0.01)
    groups[0].join()
    board.announce_stop()
    registry.entered.clear()
    registry.gate.clear()
    reporting = threading.Thread(target=groups[0].report)
    reporting.start()
    assert registry.entered.wait(5)

    groups[0].leave()

    assert "could not be marked down: the database has not answered for 0.01 s" in caplog.text
    registry.gate.set()
    reporting.join(5)


def test_a_row_that_vanished_is_made_anew(
    groups: list[ServiceGroup], registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.error = ServiceNotFound(binary="compute-launcher", host="node-1")
    groups[0].join()

    groups[0].report()

    assert registry.reports == [(UP, 3)]
    assert "made anew" in caplog.text


def test_a_database_that_is_away_fails_the_report(
    groups: list[ServiceGroup], registry: Registry
) -> None:
    registry.error = DatabaseUnavailable(url="sqlite:////x", reason="locked")

    groups[0].join()

    with pytest.raises(DatabaseUnavailable):
        groups[0].report()


@pytest.mark.parametrize(
    "error",
    [
        DatabaseUnavailable(url="sqlite:////x", reason="locked"),
        ServiceNotFound(binary="compute-launcher", host="node-1"),
    ],
)
def test_a_database_that_is_away_does_not_keep_the_last_one_from_leaving(
    groups: list[ServiceGroup],
    registry: Registry,
    board: Board,
    caplog: pytest.LogCaptureFixture,
    error: LauncherError,
) -> None:
    groups[0].join()
    board.announce_stop()
    for number in (1, 2):
        board.slot(number).vacate(90, 0)
    registry.error = error

    groups[0].leave()

    assert f"could not be marked down: {error}" in caplog.text


def test_no_descriptor_is_left_and_the_row_is_marked_down_all_the_same(
    groups: list[ServiceGroup],
    registry: Registry,
    board: Board,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(pid: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    groups[0].join()
    for slot in board.slots():
        slot.put("step", Step.PROBE)
    board.announce_stop()
    monkeypatch.setattr("launcher.serve.servicegroup.psutil.Process", refuse)

    groups[0].leave()

    assert registry.states == [DOWN]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "[Errno 24] Too many open files"),
        (RuntimeError("can't start new thread"), "the kernel gives no further thread or process"),
        (DatabaseUnusable(url="sqlite:///x", reason="it is damaged"), "database sqlite:///x"),
    ],
)
def test_whatever_keeps_the_last_word_back_ends_no_leaving(
    groups: list[ServiceGroup],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    told: str,
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr("launcher.serve.servicegroup.deadline.within", refuse)

    groups[0].leave()

    assert f"could not be marked down: {told}" in caplog.text


def test_the_board_knows_when_the_row_was_written(
    groups: list[ServiceGroup], registry: Registry, board: Board
) -> None:
    groups[0].join()
    registry.error = DatabaseUnavailable(url="sqlite:///x", reason="it is locked")
    with pytest.raises(DatabaseUnavailable):
        groups[0].report()
    assert board.reported == 0
    registry.error = None

    groups[0].report()

    assert 0 < board.reported <= time.monotonic_ns()


def test_a_row_that_is_made_anew_remembers_what_an_operator_had_set(
    groups: list[ServiceGroup], registry: Registry
) -> None:
    group = groups[0]
    start_id = group.register().start_id
    group.join()
    disabled = ROW._replace(start_id=start_id, disabled=True, disabled_reason="new disks")
    registry.found = [disabled]
    group.report()  # finds that an operator disabled it
    registry.error = ServiceNotFound(binary="compute-launcher", host="node-1")

    group.report()

    assert registry.remembered == [None, disabled]


def test_a_report_expects_what_the_last_one_found(
    groups: list[ServiceGroup], registry: Registry
) -> None:
    """So a change is found once, by one statement more."""
    group = groups[0]
    start_id = group.register().start_id
    group.join()
    registry.found = [ROW._replace(start_id=start_id, disabled=True, disabled_reason="x")]

    group.report()
    group.report()

    believed = [(one.disabled, one.disabled_reason) for one in registry.beliefs]
    assert believed == [(False, None), (True, "x")]
    first = registry.beliefs[0]
    assert (first.start.id, first.since, first.down_time) == (start_id, NOW, 60)
    assert (first.earliest, first.latest) == (
        NOW - timedelta(seconds=10),
        NOW + timedelta(seconds=10),
    )


def test_a_row_whose_owner_no_longer_reports_is_taken(
    groups: list[ServiceGroup], registry: Registry
) -> None:
    group = groups[0]
    group.register()
    group.join()
    registry.found = [ROW._replace(start_id="other", last_seen_up=NOW - timedelta(seconds=61))]

    group.report()

    assert len(registry.remembered) == 2  # it has registered again
    assert len(registry.reports) == 2


def test_another_service_of_this_name_is_said_once_and_its_end_too(
    groups: list[ServiceGroup],
    registry: Registry,
    board: Board,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    group, told = groups[0], "another service of this name runs on elsewhere (pid 7) since"
    group.register()
    group.join()
    other = ROW._replace(start_id="other", started_on="elsewhere (pid 7)")
    registry.found = [other, other]

    group.report()
    group.report()

    assert len(registry.remembered) == 1  # it does not take the row
    assert board.row_remark.read() == f"{told} 2026-01-02 03:04:05 UTC"
    assert caplog.text.count(told) == 1

    group.report()

    assert board.row_remark.read() == ""
    assert caplog.text.count("no other service of this name reports any more") == 1


def test_a_service_that_is_older_than_others_says_so_once(
    groups: list[ServiceGroup], registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    registry.newest = SERVICE_VERSION + 1
    groups[0].join()

    groups[0].report()
    groups[0].report()

    told = f"this service has service version {SERVICE_VERSION} and others have up to"
    assert caplog.text.count(told) == 1


@pytest.mark.parametrize(
    ("word", "state"),
    [
        (("probe_failing_since", 1), DEGRADED),
        (("failing_tasks", 0b100), DEGRADED),
        (("failing_tasks", 0b011), UP),  # the report itself, which works again
    ],
)
def test_a_service_with_a_problem_is_degraded(
    groups: list[ServiceGroup],
    registry: Registry,
    board: Board,
    word: tuple[str, int],
    state: ServiceState,
) -> None:
    groups[0].join()
    groups[0].report()
    board.slot(1).put(*word)

    assert groups[0].stale() == (state is DEGRADED)
    groups[0].report()

    assert registry.states == [UP, state]

"""The history: what is kept, within its bound, over restarts and damage."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from launcher import __version__
from launcher.board.slot_fields import SECOND
from launcher.board.states import Step, Wait, WorkerState
from launcher.serve.application import title
from launcher.supervise.watch import history_files
from launcher.supervise.watch.changes import Changes
from launcher.supervise.watch.history import MOST_EVENTS, History
from launcher.supervise.watch.history_files import FILES, HALF_BYTES
from tests.support.waiting import wait_until
from tests.unit.test_health import NOW, slot, starting
from tests.unit.test_probes import look

AT = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [event["text"] for event in events]


def one_life(state: Path, *told: str) -> None:
    history = History(str(state), lambda: AT)
    history.start()
    for text in told:
        history.record("test", text)
    history.end()
    history.close_in_child()


def test_a_master_tells_what_those_before_it_recorded(state: Path) -> None:
    one_life(state, "a", "b")
    history = History(str(state), lambda: AT)
    history.record("death", "worker 1 died", slot=1)
    assert texts(history.after(0)) == ["a", "b", "worker 1 died"]
    assert history.after(2) == [
        {
            "number": 3,
            "at": "2026-11-29T12:00:00.000Z",
            "master": os.getpid(),
            "kind": "death",
            "text": "worker 1 died",
            "slot": 1,
        }
    ]
    assert history.after(3) == []
    assert texts(history.after(9)) == ["a", "b", "worker 1 died"], "the files were lost"


def test_the_files_are_bounded_and_what_is_told_is_the_latest(state: Path) -> None:
    long = "x" * 1000
    count = 3 * HALF_BYTES // len(long)
    one_life(state, *(f"{number} {long}" for number in range(count)))
    sizes = [(state / name).stat().st_size for name in FILES]
    assert all(0 < size <= HALF_BYTES + 2 * len(long) for size in sizes)
    kept = texts(History(str(state)).after(0))
    assert [int(text.split()[0]) for text in kept] == list(range(count - len(kept), count))
    read = history_files.read_directory(str(state))
    assert [json.loads(line)["text"] for line in read] == kept


def test_memory_is_bounded(state: Path) -> None:
    history = History(str(state))
    for number in range(MOST_EVENTS + 5):
        history.record("test", str(number))
    assert len(history.after(0)) == MOST_EVENTS


@pytest.mark.parametrize(
    "damage", [b'{"number": 9, "te', b"[]\n", b"\xff\n", b'{"number": "x"}\n']
)
def test_a_damaged_line_costs_no_other_one(state: Path, damage: bytes) -> None:
    one_life(state, "before")
    with max((state / name for name in FILES), key=lambda path: path.stat().st_size).open(
        "ab"
    ) as file:
        file.write(damage)
    one_life(state, "after")
    assert texts(History(str(state)).after(0)) == ["before", "after"]


@pytest.mark.parametrize("obstacle", ["link", "directory", "pipe"])
def test_without_files_events_are_kept_in_memory(
    state: Path, caplog: pytest.LogCaptureFixture, obstacle: str
) -> None:
    path = state / FILES[1]
    if obstacle == "link":
        path.symlink_to("elsewhere")
    elif obstacle == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    history = History(str(state))
    history.start()
    history.record("test", "kept")
    assert texts(history.after(0)) == ["kept"]
    history.end()
    assert caplog.text.count("history is not kept in") == 1
    assert not (state / "elsewhere").exists()


def test_a_disk_that_is_full_is_logged_once(
    state: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History(str(state))
    monkeypatch.setattr(history, "_current", os.open("/dev/full", os.O_WRONLY))
    history.start()
    for _ in range(3):
        history.record("test", "kept")
    wait_until(lambda: "No space left" in caplog.text, 10, "it is logged")
    history.end()
    assert caplog.text.count("history cannot be written: No space left on device") == 1
    assert len(history.after(0)) == 3


def kinds(changes: Changes, seen: Any) -> list[tuple[str, str]]:
    return [(change.kind, change.text) for change in changes.look(seen)]


def test_a_start_is_told_as_it_goes_and_once() -> None:
    changes = Changes()
    first = look(starting(0, Step.INIT_HOST, ago=1), was_ready=False)
    assert kinds(changes, first) == []
    served = slot(0, served_since=NOW)
    assert kinds(changes, look(served)) == [
        ("proof", "worker 0 pid 4000 is proven, and serves"),
        ("ready", "1/1 workers serving"),
        ("lead", "worker 0 is the lead"),
    ]
    assert kinds(changes, look(served)) == []
    assert kinds(changes, look(served._replace(pid=77))) == [
        ("proof", "worker 0 pid 77 is proven, and serves")
    ]


@pytest.fixture
def changes() -> Changes:
    """Of a service that is ready."""
    changes = Changes()
    list(changes.look(look(slot(0), slot(1))))
    return changes


def test_an_outage_of_the_bus_begins_when_nobody_reaches_it_and_has_its_time(
    changes: Changes,
) -> None:
    away = slot(0, probe_failing_since=NOW, waiting=Wait.REFUSED)
    assert kinds(changes, look(away, slot(1))) == []
    gone = look(away, slot(1, probe_failing_since=NOW, waiting=Wait.REFUSED))
    told = "the bus refuses user, password, virtual host or permission"
    assert kinds(changes, gone) == [("bus", told)]
    assert kinds(changes, gone) == []
    back = look(slot(0), slot(1))._replace(now=NOW + 7 * SECOND)
    assert kinds(changes, back) == [("bus", "the bus answers again, after 7 s")]


def test_an_outage_in_a_start_is_told_too() -> None:
    changes = Changes()
    waiting = starting(0, Step.PROBE, ago=3, waiting=Wait.ABSENT)
    assert kinds(changes, look(waiting, was_ready=False)) == [("bus", "the bus does not answer")]
    asking = starting(0, Step.DATABASE, ago=3, waiting=Wait.ABSENT, outage="no route")
    assert kinds(changes, look(asking, was_ready=False)) == [
        ("database", "the database does not answer: no route"),
    ]
    assert kinds(changes, look(slot(0), was_ready=False)) == [
        ("bus", "the bus answers again, after 0 s"),
        ("database", "the database answers again, after 0 s"),
        ("lead", "worker 0 is the lead"),
    ]


ABSENT = {"waiting": Wait.ABSENT}


@pytest.mark.parametrize(
    ("kind", "waits_in", "still_in", "over_in"),
    [
        ("database", Step.DATABASE, (Step.DATABASE, {}), (Step.INIT_HOST, {})),
        ("database", Step.DATABASE, (Step.SERVICE_ROW, ABSENT), (Step.PROGRAM, {})),
        ("database", Step.CONDUCTOR, (Step.CONFIGURATION, {}), (Step.LAUNCH, ABSENT)),
        ("bus", Step.RPC_SERVER, (Step.RPC_SERVER, {}), (Step.POST_START_HOOK, {})),
        ("bus", Step.ALT_SERVER, (Step.INIT_HOST, {}), (Step.ALT_SERVER, {})),
        ("bus", Step.LAUNCH, (Step.LAUNCH, {}), (Step.PROBE, {})),
    ],
)
def test_an_outage_in_a_start_ends_with_its_step_not_with_the_start(
    kind: str,
    waits_in: Step,
    still_in: tuple[Step, dict[str, Any]],
    over_in: tuple[Step, dict[str, Any]],
) -> None:
    """`init_host` may take long."""
    changes = Changes()
    waiting = look(starting(0, waits_in, ago=3, waiting=Wait.ABSENT), was_ready=False)
    assert [change.kind for change in changes.look(waiting)] == [kind]
    for (step, fields), ended in ((still_in, False), (over_in, True)):
        told = kinds(changes, look(starting(0, step, ago=0, **fields), was_ready=False))
        assert ((kind, f"the {kind} answers again, after 0 s") in told) is ended


@pytest.mark.parametrize("state", [WorkerState.EMPTY, WorkerState.STOPPING, WorkerState.STARTING])
@pytest.mark.parametrize(
    ("kind", "trouble"), [("bus", {"probe_failing_since": NOW}), ("database", {"outage": "away"})]
)
def test_an_outage_does_not_end_by_the_end_of_a_worker(
    kind: str, trouble: dict[str, Any], state: WorkerState
) -> None:
    """Or by a stop. Its successor finds the same outage."""
    changes = Changes()
    list(changes.look(look(slot(0))))
    assert [change.kind for change in changes.look(look(slot(0, **trouble)))] == [kind]
    assert kinds(changes, look(slot(0, state))) == []
    assert kinds(changes, look(slot(0, **trouble))) == []
    assert [change.kind for change in changes.look(look(slot(0)))] == [kind]


def test_an_outage_of_the_database_and_its_end(changes: Changes) -> None:
    assert kinds(changes, look(slot(0), slot(1, outage="no route"))) == [
        ("database", "the database does not answer: no route")
    ]
    assert kinds(changes, look(slot(0), slot(1))) == [
        ("database", "the database answers again, after 0 s")
    ]


def test_another_lead_and_a_master_that_gives_up_are_told(changes: Changes) -> None:
    assert kinds(changes, look(slot(0, WorkerState.EMPTY), slot(1))) == [
        ("lead", "worker 1 is the lead")
    ]
    assert kinds(changes, look(slot(0, WorkerState.EMPTY), slot(1), gave_up="they die")) == [
        ("gave-up", "they die; systemd is asked to act")
    ]


def test_a_start_names_the_programs_own_version() -> None:
    application: Any = SimpleNamespace(program="", version="")
    assert title(application, "x-launcher") == f"x-launcher {__version__}"
    ours = f"by compute-launcher {__version__}"
    application.program = "barbican-worker"
    assert title(application, "barbican-worker") == f"barbican-worker {ours}"
    application.version = "barbican 19.0.0"
    told = title(application, "barbican-worker")
    assert told == f"barbican-worker (barbican 19.0.0) {ours}"

"""What is paused, where that is kept, and how a worker follows."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from launcher.board.board import Board
from launcher.errors import NotPausable, PauseKept, PauseUnreadable, PauseUnwritable
from launcher.listening.hold import Hold
from launcher.rabbit.subscription import Subscription
from launcher.registry.records import ServiceState
from launcher.serve.pause import Pause
from launcher.serve.worker_numbers import WorkerNumbers, state_of
from launcher.supervise.control.health_checks import WARN
from launcher.supervise.operations.pause_file import FILE, PauseFile, Pauses
from launcher.supervise.operations.pausing import Pausing
from launcher.supervise.watch import health, probes
from tests.unit.test_health import NOW, slot
from tests.unit.test_health_checks import look, statuses
from tests.unit.test_probes import failing
from tests.unit.test_probes import look as observe


def test_pauses_of_slots_add_up_and_one_that_is_resumed_leaves_the_others() -> None:
    some = Pauses().with_pause(1, "disks").with_pause(3, "")
    assert some == Pauses(slots=frozenset({1, 3}), reason="disks")
    assert some.without_pause(1, range(4)) == Pauses(slots=frozenset({3}), reason="disks")
    assert not some.without_pause(None, range(4))
    everyone = some.with_pause(None, "audit")
    assert everyone.without_pause(1, range(3)).slots == {0, 2, 3}
    assert not Pauses().with_pause(2, "x").without_pause(2, range(3)).reason


def test_pauses_are_kept_in_a_file_and_nothing_is_no_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    file = PauseFile(str(tmp_path))
    assert file.read() == Pauses()
    kept = Pauses(everyone=False, slots=frozenset({0, 2}), reason="new disks, Ärger")
    file.write(kept)
    assert file.read() == kept
    file.write(Pauses())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", '{"everyone": true}', '{"slots": 1}', "{" * 99])
def test_a_damaged_file_is_told_and_not_taken_for_none(tmp_path: Path, text: str) -> None:
    (tmp_path / FILE).write_text(text)
    (tmp_path / FILE).chmod(0o600)
    with pytest.raises(PauseUnreadable, match=rf"{tmp_path}/{FILE}, which .* remove it"):
        PauseFile(str(tmp_path)).read()


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE / "x").mkdir(parents=True)
    with pytest.raises(PauseUnwritable, match=str(tmp_path)):
        PauseFile(str(tmp_path)).write(Pauses(everyone=True))


class Servers:
    """Do as they are told, unless they do not."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self.busy = 0  # how often they do not obey

    def set_paused(self, paused: bool) -> bool:  # as in `Server`
        self.told.append(paused)
        self.busy -= 1
        return self.busy < 0


def test_a_worker_follows_the_board_and_says_what_is_so() -> None:
    board, servers = Board(3), Servers()
    board.want(2, 10)
    pause = Pause(board, board.slot(1))
    pause.follow()
    assert servers.told == []
    board.slot(1).put("pause_wanted", 1)
    pause.govern(servers.set_paused)
    assert (servers.told, board.slot(1).get("paused")) == ([True], 1)
    board.slot(1).put("pause_wanted", 0)
    pause.follow()
    assert (servers.told, board.slot(1).get("paused")) == ([True, False], 0)
    board.want_pause(everyone=True)
    servers.told, servers.busy = [], 2  # as a listener that is connecting to a broker
    pause.follow()
    assert (servers.told, board.slot(1).get("paused")) == ([True] * 3, 1)


def test_the_wish_survives_a_worker_and_what_it_did_does_not() -> None:
    board = Board(1)
    board.want(1, 10)
    board.slot(0).put("pause_wanted", 1)
    board.slot(0).put("paused", 1)
    board.slot(0).vacate(10, not_before=0)
    assert (board.wants_pause(0), board.slot(0).get("paused")) == (True, 0)


def test_a_listener_obeys_in_its_own_thread_and_once() -> None:
    done: list[str] = []
    hold = Hold(lambda: done.append("woken"))

    def round_() -> None:
        hold.obey(lambda: done.append("begin"), lambda: done.append("end"))

    hold.set(True)
    assert done == ["woken"]
    round_()
    round_()
    assert (done, hold.in_force, hold.wait(True)) == (["woken", "begin"], True, True)
    hold.set(False)
    round_()
    assert done[2:] == ["woken", "end"]


def test_what_raises_is_tried_again_in_the_next_round() -> None:
    def fail() -> None:
        raise OSError("no descriptor")

    hold = Hold(lambda: None)
    hold.set(True)
    with pytest.raises(OSError, match="no descriptor"):
        hold.obey(fail, fail)
    assert not hold.in_force


@pytest.mark.parametrize(("deleted", "held"), [(False, True), (True, False)])
def test_what_would_be_deleted_with_its_calls_is_not_held(
    deleted: bool, held: bool, caplog: pytest.LogCaptureFixture
) -> None:
    connection = Mock(amqp_auto_delete=deleted)
    hold = Hold(lambda: None, obstacle=Subscription(Mock(connection=connection)).obstacle)
    begun: list[bool] = []

    hold.set(True)
    hold.obey(lambda: begun.append(True), lambda: None)

    assert (bool(begun), hold.in_force, hold.wait(True)) == (held, held, held)
    assert ("no pause: RabbitMQ deletes a queue that nobody reads" in caplog.text) is not held
    hold.set(False)
    hold.obey(lambda: None, lambda: None)
    assert hold.wait(False)


def test_a_pause_is_refused_while_a_worker_would_lose_calls_by_it(tmp_path: Path) -> None:
    """The configuration of a foreign program is known in its workers only."""
    board = Board(2)
    board.want(2, 10)
    pausing = Pausing(board, Mock(), str(tmp_path), loses_calls=lambda: False, record=Mock())
    Pause(board, board.slot(1)).refuse()

    with pytest.raises(NotPausable, match="amqp_auto_delete is set"):
        pausing.pause(0, None, persist=True)

    assert not board.wants_pause(0)
    assert list(tmp_path.iterdir()) == []


def test_a_pause_that_only_a_later_listener_can_refuse_is_taken_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A program was asked before any of its servers listened: none could say that calls would be
    lost."""
    tmp_path.chmod(0o700)
    board, record, servers = Board(2), Mock(), Servers()
    board.want(2, 10)
    PauseFile(str(tmp_path)).write(Pauses(everyone=True))  # --persist, before a restart
    pausing = Pausing(board, Mock(), str(tmp_path), loses_calls=lambda: False, record=record)
    worker = Pause(board, board.slot(1))
    worker.govern(servers.set_paused)
    assert board.slot(1).get("paused") == 1
    pausing.look()
    assert board.wants_pause(1)

    worker.refuse()

    assert servers.told == [True, False]
    assert board.slot(1).get("paused") == 0
    pausing.look()
    assert not board.wants_pause(1)
    assert pausing.describe() is None
    assert list(tmp_path.iterdir()) == []
    assert "the pause is taken back: a pause would lose calls" in caplog.text
    assert record.call_args.args[0] == "resume"
    with pytest.raises(NotPausable):
        pausing.pause(None, None, persist=False)


def test_a_pause_is_taken_back_though_its_file_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An error would end the monitor's thread, and so the service."""
    state = tmp_path / "state"
    state.mkdir(0o700)
    board = Board(1)
    board.want(1, 10)
    PauseFile(str(state)).write(Pauses(everyone=True))
    pausing = Pausing(board, Mock(), str(state), loses_calls=lambda: False, record=Mock())
    Pause(board, board.slot(0)).refuse()
    state.rename(tmp_path / "elsewhere")

    pausing.look()

    assert not board.wants_pause(0)
    assert "a pause that persists cannot be removed" in caplog.text
    with pytest.raises(PauseUnwritable, match=str(state)):
        PauseFile(str(state)).write(Pauses())


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory."""
    directory = tmp_path / "state"
    directory.mkdir(0o700)
    return directory


def pausing_of(state: Path, board: Board) -> Pausing:
    board.want(2, 10)
    later = SimpleNamespace(now=1 << 62)  # than any round that is waited for
    monitor = Mock(observation=later)
    return Pausing(board, monitor, str(state), loses_calls=lambda: False, record=Mock())


@pytest.mark.parametrize("slot", [None, 0])
def test_a_resume_needs_no_directory_where_nothing_persists(state: Path, slot: int | None) -> None:
    """It may also be read-only: there unlink(2) of a name that is not there is an error, too."""
    board = Board(2)
    pausing = pausing_of(state, board)
    pausing.pause(slot, "audit", persist=False)
    state.rename(state.with_name("elsewhere"))

    pausing.resume(slot)

    assert not board.wants_pause(0)


@pytest.mark.parametrize("slot", [None, 0])
def test_a_resume_that_cannot_be_kept_is_in_force_and_says_so(
    state: Path, slot: int | None
) -> None:
    board = Board(2)
    pausing = pausing_of(state, board)
    for number in (0, 1):
        pausing.pause(number, "audit", persist=True)
    elsewhere = state.rename(state.with_name("elsewhere"))

    with pytest.raises(PauseKept, match=f"resumed, but paused again after a restart: {state}/"):
        pausing.resume(slot)

    assert (board.wants_pause(0), board.wants_pause(1)) == (False, slot is not None)
    assert "resume" in pausing.why_not_upgradable(), "the new master would read the file"
    elsewhere.rename(state)
    pausing.resume(slot)
    assert bool(pausing.why_not_upgradable()) is (slot is not None)
    assert PauseFile(str(state)).read().slots == (frozenset() if slot is None else {1})


def test_a_pause_that_persists_is_written_though_it_was_before(state: Path) -> None:
    """Somebody may have removed the file."""
    pausing = pausing_of(state, Board(2))
    for _ in range(2):
        pausing.pause(None, "audit", persist=True)
        assert PauseFile(str(state)).read().everyone
        (state / FILE).unlink()


def test_a_resume_does_not_need_what_the_file_says(state: Path) -> None:
    pausing = pausing_of(state, Board(2))
    pausing.pause(None, "audit", persist=True)
    (state / FILE).write_text("{")
    pausing.resume(None)
    assert list(state.iterdir()) == []


@pytest.mark.parametrize(
    ("slots", "line"),
    [
        ([slot(0), slot(1, paused=True)], "1/2 workers serving, worker 1 paused"),
        ([slot(0, paused=True), slot(1, paused=True)], "0/2 workers serving, 2 paused"),
    ],
)
def test_a_pause_is_told_and_is_no_fault(slots: list[Any], line: str) -> None:
    verdict = health.assess(slots, NOW, was_ready=True)
    assert (verdict.headline, verdict.remarkable) == (line, False)
    assert verdict.all_serve
    assert verdict.healthy
    seen = observe(*slots, pause_reason="new disks")
    assert seen.well
    assert seen.summary == f"{line}; paused for: new disks"


def test_health_warns_and_a_paused_service_is_not_ready() -> None:
    one, all_ = [slot(0), slot(1, paused=True)], [slot(0, paused=True)]
    assert statuses(look(*one)) == {"workers:paused": WARN}
    assert failing(probes.ready(observe(*one), NOW)) == []
    assert failing(probes.ready(observe(*all_), NOW)) == ["workers"]
    assert failing(probes.live(observe(*all_), NOW)) == []


@pytest.mark.parametrize(
    ("numbers", "state"),
    [
        (WorkerNumbers(2, 0, paused=2), ServiceState.PAUSED),
        (WorkerNumbers(2, 1, paused=1), ServiceState.UP),
        (WorkerNumbers(3, 1, paused=1), ServiceState.DEGRADED),
        (WorkerNumbers(2, 1, ailing=True, paused=1), ServiceState.DEGRADED),
        (WorkerNumbers(2, 0), ServiceState.DEGRADED),
    ],
)
def test_the_row_says_paused_when_nobody_takes_calls(
    numbers: WorkerNumbers, state: ServiceState
) -> None:
    assert state_of(numbers, stopping=False) is state
    assert state_of(numbers, stopping=True) is ServiceState.DRAINING

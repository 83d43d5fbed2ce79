"""What two masters do to hand over, in parts."""

import errno
import gc
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import ANY, MagicMock, Mock

import pytest

from launcher.board.board import Board
from launcher.config.options import MOST_WORKERS
from launcher.errors import (
    AlreadyRunning,
    CanaryRuns,
    ExitStatus,
    LauncherError,
    NotUpgradable,
    NotUpgradableNow,
    OptionError,
    PredecessorGone,
    ServiceStopping,
    SuccessorFailed,
    SuccessorLost,
)
from launcher.serve import rpc
from launcher.supervise.operations.stop import Stop
from launcher.supervise.policy import Policy
from launcher.supervise.processes.instance_lock import Instance
from launcher.supervise.upgrade import handover as handovers
from launcher.supervise.upgrade import new_process, parent, successor, upgrade
from launcher.supervise.upgrade import takeover as takeovers
from launcher.supervise.upgrade.channel import PROTOCOL, VARIABLE, Channel, Closed, Message
from launcher.supervise.upgrade.handover import HandOver
from launcher.supervise.upgrade.parent import FirstProcess, Parent
from launcher.supervise.upgrade.predecessor import Predecessor, task_numbers
from launcher.supervise.upgrade.successor import Successor
from launcher.supervise.upgrade.takeover import Takeover
from launcher.supervise.watch.history import MOST_EVENTS, History
from tests.support.descriptors import opened
from tests.support.hung_file import on_a_hung_file_system
from tests.support.waiting import wait_until
from tests.unit.test_instance_lock import process


def greeted(**facts: Any) -> Predecessor:
    """The new master's view of an old one that has said this."""
    channel, other = Channel.pair()
    other.send("hello", **{"pid": 7} | facts)
    predecessor = Predecessor(channel, None)
    predecessor.greet()
    return predecessor


def soon() -> float:
    return time.monotonic() + 10


# --- the channel ---


def test_messages_come_one_by_one_with_their_descriptors(tmp_path: Path) -> None:
    one, other = Channel.pair()
    path = tmp_path / "file"
    path.write_text("there")
    descriptor = os.open(path, os.O_RDONLY)
    one.send("first", number=1)
    one.send("second", [descriptor], names=["a"])
    first, second = other.receive(0), other.receive(0)
    assert first == ("first", {"number": 1}, [])
    assert second is not None
    assert (second.event, second.facts) == ("second", {"names": ["a"]})
    assert os.pread(second.descriptors[0], 10, 0) == b"there"
    assert not os.get_inheritable(second.descriptors[0])
    assert other.receive(0) is None


def test_an_unknown_message_is_passed_over() -> None:
    """It is of another version."""
    one, other = Channel.pair()
    one.send("novelty", more=1)
    one.send("taken")
    assert other.expect("taken", soon()).event == "taken"


def test_a_text_of_any_length_comes_through() -> None:
    one, other = Channel.pair()
    one.send("event", fact={"text": "größe " * 100_000, "slot": 3})
    found = other.receive(0)
    assert found is not None
    fact = found.facts["fact"]
    assert fact["slot"] == 3
    assert fact["text"].startswith("größe größe")


def test_a_death_ends_the_channel_and_so_does_garbage() -> None:
    one, other = Channel.pair()
    one.send("last")
    one.close()
    assert other.receive(0) is not None
    with pytest.raises(Closed):
        other.receive(0)
    with pytest.raises(Closed):
        other.send("too late")
    one, other = Channel.pair()
    os.write(one.fileno(), b"[1, 2]\n")
    with pytest.raises(Closed):
        other.receive(0)


def test_who_does_not_say_it_in_time_counts_as_dead() -> None:
    one, _other = Channel.pair()
    with pytest.raises(Closed):
        one.expect("taken", time.monotonic() + 0.01)


# --- the lock ---


def test_at_no_moment_is_the_lock_free(tmp_path: Path) -> None:
    """Only a process of its own sees record locks: each step is done by one that stays."""
    place = str(tmp_path), str(tmp_path), "compute-launcher"
    old, new = Instance(*place), Instance(*place)
    assert_free(tmp_path)
    old.claim()
    assert_taken(tmp_path)
    old.lend()
    assert_taken(tmp_path)

    def take() -> None:
        new.stand_by()
        new.borrow()

    with process(take):
        old.give_up()
        assert_taken(tmp_path)
        with pytest.raises(BlockingIOError):
            old.take_back()
    old.take_back()
    assert_taken(tmp_path)


def test_the_new_master_has_all_of_it_in_the_end(tmp_path: Path) -> None:
    new = Instance(str(tmp_path), str(tmp_path), "compute-launcher")

    def take() -> None:
        new.stand_by()
        new.borrow()
        new.keep()

    with process(take) as pid, pytest.raises(AlreadyRunning, match=f"pid {pid};"):
        Instance(str(tmp_path), str(tmp_path), "compute-launcher").claim()


def assert_taken(directory: Path) -> None:
    assert not could_claim(directory)


def assert_free(directory: Path) -> None:
    assert could_claim(directory)


def could_claim(directory: Path) -> bool:
    """Whether a third process could."""
    pid = os.fork()
    if not pid:
        try:
            Instance(str(directory), str(directory), "third").claim()
        except AlreadyRunning:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


# --- the new master's view ---


def test_the_variable_is_taken_out_of_the_environment() -> None:
    assert Predecessor.from_environment({}) is None
    one, other = Channel.pair()
    number = os.dup(other.fileno())
    environ = {VARIABLE: json.dumps({"channel": number, "first": number}), "HOME": "/"}
    found = Predecessor.from_environment(environ)
    assert environ == {"HOME": "/"}
    assert found is not None
    assert found.first is found.channel
    one.send("hello", pid=7)
    found.greet()
    assert found.pid == 7
    said = one.expect("hello", soon())
    assert said.facts["protocol"] == PROTOCOL


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"channel": "x"}', '{"channel": 999999}'])
def test_a_variable_of_nobody_is_an_error(text: str) -> None:
    with pytest.raises(LauncherError, match=VARIABLE):
        Predecessor.from_environment({VARIABLE: text})


def test_an_old_master_that_is_gone_ends_the_start() -> None:
    channel, other = Channel.pair()
    other.close()
    with pytest.raises(PredecessorGone):
        Predecessor(channel, None).greet()


@pytest.mark.parametrize(
    ("scaled", "before", "configured", "wanted"),
    [(4, 4, 4, 4), (6, 4, 4, 6), (6, 4, 5, 5), (9999, 4, 4, MOST_WORKERS)],
)
def test_a_scaled_number_stays_unless_another_is_configured(
    scaled: int, before: int, configured: int, wanted: int
) -> None:
    predecessor = greeted(workers=scaled, configured=before)
    assert predecessor.workers(configured) == wanted


@pytest.mark.parametrize(
    ("facts", "holds"),
    [
        ({"held": True, "configured": 4}, True),
        ({"held": False, "configured": 4}, False),
        ({"held": True, "configured": 3}, False),
    ],
)
def test_a_number_of_an_operator_stays_so(facts: dict[str, object], holds: bool) -> None:
    """It does not follow the demand, unless another number is configured."""
    assert greeted(**facts).holds(4) is holds


def test_what_an_older_version_does_not_say_is_taken_as_usual() -> None:
    predecessor, board = greeted(), Board(2)
    assert predecessor.workers(3) == 3
    assert not predecessor.holds(3)
    assert predecessor.counts == {"done": 1, "failed": 0}
    predecessor.prepare(board, {})
    assert board.side == "-b"
    assert board.beside
    assert not predecessor.listens_at("control", "")


@pytest.mark.parametrize("pid", [None, 0, -1, "7"])
def test_a_hello_without_a_pid_is_refused(pid: object) -> None:
    """A signal to pid 0 is one to our own group."""
    with pytest.raises(LauncherError, match="says that its pid is"):
        greeted(pid=pid)


def test_options_that_cannot_change() -> None:
    predecessor = greeted(host="a")
    predecessor.check({"host": "a", "unknown": "b"})
    with pytest.raises(OptionError, match="from a; restart instead"):
        predecessor.check({"host": "b"})


def test_host_wide_tasks_go_on_where_they_were() -> None:
    board = Board(2)
    numbers = task_numbers(["probe", "report", "sweep", "new"])
    greeted(tasks={"sweep": 77, "gone": 5}, side="").prepare(board, numbers)
    assert board.host_task_started(2) == 77
    assert board.host_task_taken_over(2)
    assert not board.host_task_taken_over(3)
    Predecessor.note_tasks(board, numbers, {"tasks": {"sweep": 70}})
    assert board.host_task_started(2) == 77, "it never goes back"


def test_both_generations_have_names_of_their_own() -> None:
    names = {rpc.alt_target("compute", "node-1", 3, side).server for side in ("", "-b")}
    spares = {rpc.spare_target("compute", "node-1", 3, side).server for side in ("", "-b")}
    assert len(names | spares) == 4


class Taking:
    """A new master whose workers are proven, as far as an old one sees it, which `old` is."""

    def __init__(self, first: Channel | None = None, *, runs: bool = True) -> None:
        channel, self.old = Channel.pair()
        self.old.send("hello", pid=os.getpid())
        self.predecessor = Predecessor(channel, first)
        self.predecessor.greet()
        self.board = Board(2)
        self.stop = Stop(self.board, Mock(), lambda: Policy(graceful_seconds=0))
        self.parts = Mock(board=self.board, stop=self.stop)
        self.parts.monitor.summary = "2/2 workers serving"
        self.parts.policy = lambda: Policy(graceful_seconds=0)
        self.parts.forking.in_forker = lambda action: action()
        self.takeover = Takeover(self.predecessor, self.parts)
        self.takeover.servers = [Mock(name="server")]
        self.thread = threading.Thread(target=self.takeover.run, daemon=True)
        if runs:
            self.thread.start()
            self.old.expect("ready", soon())

    def end(self) -> None:
        """The old master ends."""
        self.old.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        self.stop.end()

    def said(self) -> Message | None:
        """What it says but for its progress."""
        while (found := self.old.receive(10)) and found.event == "progress":
            pass
        return found


@pytest.mark.parametrize("when", ["before take", "before yours"])
def test_a_new_master_that_stops_is_not_put_in_charge(when: str) -> None:
    new = Taking()
    if when == "before yours":
        new.old.send("take", sockets=[])
        new.old.expect("taken", soon())
    new.stop.begin("SIGTERM received")
    assert new.said() == ("failed", {"reason": "it was told to stop"}, [])
    new.old.send("take", sockets=[])
    new.old.send("yours", tasks={})
    assert new.old.expect("progress", soon()), "it has not ended yet"
    new.end()
    assert not new.takeover.in_charge
    assert new.parts.instance.borrow.called == (when == "before yours")
    new.parts.instance.keep.assert_not_called()


def test_a_stop_that_is_over_at_once_says_why() -> None:
    """Before the thread of the takeover has looked."""
    new = Taking(runs=False)
    new.board.announce_stop()
    new.takeover.wait_for_predecessor(lambda: False)
    assert new.old.receive(10) == ("hello", ANY, [])
    assert new.old.receive(10) == ("failed", {"reason": "it was told to stop"}, [])


def test_sockets_that_do_not_arrive_are_a_failure_with_a_reason() -> None:
    """As when the new master has no free descriptor."""
    new = Taking()
    new.old.send("take", sockets=[["control", ""]])
    found = new.said()
    assert found is not None
    assert found.event == "failed"
    assert "the hand-over failed" in found.facts["reason"]
    assert isinstance(new.stop.failure, LauncherError)
    new.end()


def test_a_stop_in_the_moment_of_the_last_word_comes_first() -> None:
    new = Taking()
    new.old.send("take", sockets=[])
    new.old.expect("taken", soon())
    with new.stop._lock:
        new.board.announce_stop()
        new.old.send("yours", tasks={})
    assert (new.said() or ("",))[0] == "failed"
    new.end()
    new.parts.instance.keep.assert_not_called()


@pytest.mark.parametrize("when", ["before it", "with it"])
def test_a_main_process_that_stops_before_it_is_in_charge_waits_for_the_old_one_s_calls(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """systemd kills them when its main process ends, or when nobody asks for more time. The old
    one does not read what this one says."""
    monkeypatch.setattr(takeovers, "PROGRESS_SECONDS", 0.001)
    reported = threading.Event()
    new = Taking()
    send, left = new.predecessor.channel.send, iter(range(1000))

    def send_often(*args: Any, **facts: Any) -> None:
        if new.takeover._is_main and next(left, None) is None:
            reported.set()
        send(*args, **facts)

    monkeypatch.setattr(new.predecessor.channel, "send", send_often)
    new.old.send("take", sockets=[])
    new.old.expect("taken", soon())
    if when == "before it":
        new.stop.begin("SIGTERM received")
        assert (new.said() or ("",))[0] == "failed"
        new.old.send("yours", tasks={}, main=True)
    else:
        with new.stop._lock:
            new.board.announce_stop()
            new.old.send("yours", tasks={}, main=True)
        assert (new.said() or ("",))[0] == "failed"
    assert reported.wait(10)
    with pytest.raises(Closed):
        send("one more than fits")
    new.parts.notifier.speak_of_stop.assert_called_once_with("2/2 workers serving")
    assert "still drains" in new.parts.monitor.predecessor
    waiting = threading.Thread(
        target=new.takeover.wait_for_predecessor, args=(lambda: False,), daemon=True
    )
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    new.end()
    waiting.join(10)
    assert not waiting.is_alive()
    new.parts.instance.keep.assert_not_called()


def test_who_stops_and_is_no_main_process_tells_systemd_nothing() -> None:
    new = Taking()
    new.stop.begin("SIGTERM received")
    new.old.expect("failed", soon())
    new.old.send("yours", tasks={}, main=False)
    new.end()
    new.parts.notifier.speak_of_stop.assert_not_called()


def test_who_is_in_charge_stays_so_when_the_old_master_dies_then() -> None:
    new = Taking()
    new.parts.instance.keep = Mock(side_effect=new.old.close)
    new.old.send("take", sockets=[])
    new.old.expect("taken", soon())
    new.old.send("yours", tasks={})
    new.thread.join(10)
    assert new.takeover.in_charge
    assert new.takeover.predecessor_gone
    assert not new.board.stopping
    new.end()


def test_what_a_later_version_says_of_the_history_is_passed_over() -> None:
    new = Taking()
    new.old.send("take", sockets=[])
    new.old.send("yours", tasks={}, history={"number": 3, "events": [], "more": 1})
    new.old.expect("done", soon())
    new.parts.history.take_over.assert_called_once_with(3, [])
    new.end()


def test_an_event_of_a_kind_that_nobody_knows_is_passed_over() -> None:
    new = Taking()
    new.old.send("take", sockets=[])
    new.old.send("yours", tasks={})
    new.old.expect("done", soon())
    new.old.send("event", other=1)
    new.old.send("event", fact="text")
    new.old.send("event", fact={"text": "known"})
    wait_until(lambda: new.parts.history.add.called, 10, "it has heard of it")
    assert f"pid {os.getpid()}, still drains" in new.parts.monitor.predecessor
    new.end()
    new.parts.history.add.assert_called_once_with({"text": "known"})
    assert new.parts.monitor.predecessor == ""


@pytest.mark.parametrize(
    ("drained", "words"),
    [
        ({"killed": False}, "has drained"),
        ({"killed": True}, "has ended; calls in its hands were cut off"),
        ({}, "has drained"),
        (None, "has died; calls in its hands may be lost"),
    ],
)
def test_how_the_old_master_has_ended_is_history(
    drained: dict[str, Any] | None, words: str
) -> None:
    new = Taking()
    new.old.send("take", sockets=[])
    new.old.send("yours", tasks={})
    new.old.expect("done", soon())
    if drained is not None:
        new.old.send("drained", **drained)
    new.end()
    told = f"the master before, pid {os.getpid()}, {words}"
    new.parts.history.record.assert_called_with("upgrade", told)


def test_each_signal_that_waited_for_the_upgrade_is_followed() -> None:
    """Also equal ones: kill(2) would merge them."""
    new, followed = Taking(), list[signal.Signals]()
    new.takeover.on_signal = {
        one: partial(followed.append, one) for one in (signal.SIGHUP, signal.SIGTTIN)
    }
    old = upgrade.Upgrade(new.parts, facts=dict, check=Mock(), first=None, counts=Counter())
    old._channels = [new.old]
    new.old.send("take", sockets=[])
    new.old.send("yours", tasks={})
    new.old.expect("done", soon())
    for one in (signal.SIGTTIN, signal.SIGTTIN, signal.SIGTERM, signal.SIGHUP):
        old.hand_on(one)
    wait_until(lambda: signal.SIGHUP in followed, 10, "it has followed")
    new.end()
    assert followed == [signal.SIGTTIN, signal.SIGTTIN, signal.SIGHUP]
    old.hand_on(signal.SIGHUP)  # there is nobody any more: the service has ended


def test_when_the_first_process_dies_nothing_holds_the_lock_for_long() -> None:
    first, other = Channel.pair()
    new = Taking(first)
    new.stop.at_once = Mock()  # type: ignore[method-assign]
    new.old.send("take", sockets=[])
    new.old.send("yours", tasks={})
    new.old.expect("done", soon())
    other.close()
    new.end()
    new.stop.at_once.assert_called_once()


# --- the old master's view ---


def test_what_a_new_master_says_of_its_failure_is_not_passed_over() -> None:
    channel, other = Channel.pair()
    Predecessor(other, None).tell_failure("it was told to stop")
    with pytest.raises(SuccessorFailed, match="told to stop"):
        Successor(os.getpid(), channel).expect("taken")


def test_a_new_master_of_another_protocol_is_refused() -> None:
    channel, other = Channel.pair()
    other.send("hello", protocol=PROTOCOL + 1)
    with pytest.raises(SuccessorFailed, match="language"):
        Successor(os.getpid(), channel).greet(lambda: None, 10)


def test_time_in_which_this_one_did_not_run_is_not_held_against_the_new_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As after a SIGSTOP of both."""
    channel, other = Channel.pair()
    new, receive, looks = Successor(os.getpid(), channel), channel.receive, 0

    def receive_late(seconds: float) -> Message | None:
        nonlocal looks
        looks += 1
        found = receive(seconds)
        if looks == 3:
            other.send("done")
        monkeypatch.setattr(time, "monotonic", lambda: 1e6 * looks)
        return found

    monkeypatch.setattr(channel, "receive", receive_late)
    new.expect("done", 2 * successor.LOOK_SECONDS + 0.001)
    with pytest.raises(SuccessorFailed, match="hangs"):
        new.expect("done", 0.1)


@pytest.mark.parametrize("systemd", [True, False])
def test_systemd_s_main_process_has_longer_to_be_in_charge(
    monkeypatch: pytest.MonkeyPatch, systemd: bool
) -> None:
    """It is not killed for being slow: there is no way back."""
    monkeypatch.setattr(handovers, "DONE_SECONDS", 0.05)
    monkeypatch.setattr(successor, "ANSWER_SECONDS", 0.05)
    channel, other = Channel.pair()
    parts, new = Mock(), Successor(os.getpid(), channel)
    parts.host_tasks.return_value = parts.history.to_hand_on.return_value = {}
    new.end = Mock()  # type: ignore[method-assign]
    step = HandOver(parts, [], new, Parent.SYSTEMD if systemd else Parent.OURSELVES, None)
    receive, looks = channel.receive, iter(range(20))

    def receive_late(seconds: float) -> Message | None:
        if next(looks, None) is None:
            other.send("done")
        return receive(seconds)

    monkeypatch.setattr(channel, "receive", receive_late)
    if systemd:
        assert step._commit()
    else:
        with pytest.raises(SuccessorFailed, match="hangs"):
            step._commit()
    assert new.end.called is not systemd


def test_a_new_master_says_why_it_fails() -> None:
    channel, other = Channel.pair()
    Predecessor(other, None).tell_failure("no such manager")
    with pytest.raises(SuccessorFailed, match="no such manager"):
        Successor(os.getpid(), channel).next(lambda: None, 10)


def start(*command: str, detached: bool = False) -> int:
    return new_process.start(command, {"ADDED": "1"}, {}, detached=detached, main=False)


def test_a_program_that_cannot_be_executed(tmp_path: Path) -> None:
    for detached in (False, True):
        with pytest.raises(new_process.NotStarted, match="No such file"):
            start(str(tmp_path / "nothing"), detached=detached)


@pytest.mark.parametrize(
    ("call", "told"),
    [("pipe", "Try again$"), ("fork", "the new master cannot be started: the kernel gives no")],
)
def test_what_the_kernel_refuses_is_one_sentence_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, call: str, told: str
) -> None:
    gc.collect()  # closes what other tests have left
    before = opened()
    monkeypatch.setattr(os, call, Mock(side_effect=OSError(errno.EAGAIN, "Try again")))
    with pytest.raises(new_process.NotStarted, match=f"^{told}"):
        start("/bin/true")
    assert opened() <= before


@pytest.mark.parametrize("detached", [True, False])
def test_a_program_that_cannot_be_read_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, detached: bool
) -> None:
    """Nobody else could be forked meanwhile."""
    monkeypatch.setattr(new_process, "EXECUTED_SECONDS", 0.5)
    kill, killed = os.kill, Mock()
    monkeypatch.setattr(os, "kill", lambda *args: (killed(*args), kill(*args)))
    path = tmp_path / "compute-launcher"
    with (
        on_a_hung_file_system(path),
        pytest.raises(new_process.NotStarted, match=r"launcher: not executed within 0.5 s; its"),
    ):
        start(str(path), detached=detached)
    pid, number = killed.call_args.args
    assert number == signal.SIGKILL
    wait_until(lambda: not Path(f"/proc/{pid}").exists(), 10, "nothing is left of it")


def test_a_stop_does_not_wait_for_a_file_system_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(upgrade, "STUCK_SECONDS", 0.1)
    asked, back, parts = threading.Event(), threading.Event(), parts_of_an_old_master()

    def command_line() -> list[str]:
        asked.set()
        assert back.wait(30)
        return ["/bin/true"]

    monkeypatch.setattr(new_process, "command_line", command_line)
    started = Mock()
    monkeypatch.setattr(new_process, "start", started)
    one = upgrade.Upgrade(parts, facts=dict, check=Mock(), first=None, counts=Counter())
    future = one.request()
    assert asked.wait(10)
    parts.board.announce_stop()
    one.finish()
    assert "the upgrade hangs, and is left behind" in caplog.messages
    back.set()
    with pytest.raises(ServiceStopping):
        future.result(10)
    started.assert_not_called()


def parts_of_an_old_master() -> MagicMock:
    parts = MagicMock(board=Board(2))
    parts.stop.handed_over = False
    parts.notifier.variables = parts.history.to_hand_on.return_value = {}
    parts.forking.in_forker = lambda action: action()
    return parts


@pytest.mark.parametrize(
    "refusal",
    [
        CanaryRuns(activity="watching canaries"),
        NotUpgradable(reason="it is another's"),
        NotUpgradableNow(reason="workers are paused; resume first"),
    ],
    ids=lambda refusal: type(refusal).__name__,
)
def test_an_upgrade_that_is_refused_has_not_failed(refusal: LauncherError) -> None:
    """STATUS would call a service degraded that nothing has befallen."""
    parts = parts_of_an_old_master()
    parts.monitor.remarks = {}
    check = Mock(side_effect=refusal)
    one = upgrade.Upgrade(parts, facts=dict, check=check, first=None, counts=Counter())
    with pytest.raises(type(refusal)):
        one.request().result(10)
    assert not one.counts
    assert parts.monitor.remarks == {}
    parts.history.record.assert_not_called()


def test_one_that_fails_is_in_status_beside_a_reload_that_did(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts = parts_of_an_old_master()
    parts.monitor.remarks = {"reload": "reload failed: no", "upgrade": ""}
    one = upgrade.Upgrade(parts, facts=dict, check=Mock(), first=None, counts=Counter())
    monkeypatch.setattr(one, "_start", Mock(side_effect=SuccessorFailed(reason="no luck")))
    with pytest.raises(SuccessorFailed):
        one.request().result(10)
    assert one.counts == {"failed": 1}
    assert parts.monitor.remarks["reload"] == "reload failed: no"
    assert parts.monitor.remarks["upgrade"].endswith("no luck")


def test_without_descriptors_there_is_no_upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    no_more = OSError(errno.EMFILE, "Too many open files")
    monkeypatch.setattr(Channel, "pair", Mock(side_effect=no_more))
    parts = parts_of_an_old_master()
    one = upgrade.Upgrade(parts, facts=dict, check=Mock(), first=None, counts=Counter())
    with pytest.raises(SuccessorFailed, match="did not take over: Too many open files"):
        one.request().result(10)


def test_a_new_process_has_the_environment_and_is_a_child(tmp_path: Path) -> None:
    path = tmp_path / "said"
    pid = start("/bin/sh", "-c", f'echo "$ADDED $PPID ${VARIABLE}" > {path}')
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert path.read_text() == f"1 {os.getpid()} {{}}\n"


def test_a_detached_one_is_no_child(tmp_path: Path) -> None:
    path = tmp_path / "said"
    pid = start("/bin/sh", "-c", f'echo "$$" > {path}.new; mv {path}.new {path}', detached=True)
    wait_until(path.exists, 10, "it has said it")
    assert path.read_text() == f"{pid}\n"
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_it_ends_one_that_does_not_end() -> None:
    channel, other = Channel.pair()
    pid = start("/bin/sh", "-c", 'trap "" TERM; while :; do sleep 0.01; done')
    Successor(pid, channel).end(0.05, lambda: False)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    other.close()


def test_one_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that drains says so, and has its time."""
    monkeypatch.setattr(successor, "SILENT_SECONDS", 0.5)
    deaf = ("/bin/sh", "-c", 'trap "" TERM; while :; do sleep 0.01; done')
    channel, other = Channel.pair()
    hanging = Successor(start(*deaf), channel)
    hanging.version = "1"
    begun = time.monotonic()
    hanging.end(60, lambda: False)
    assert 0.5 < time.monotonic() - begun < 30

    channel, other = Channel.pair()
    draining = Successor(start(*deaf), channel)
    draining.version = "1"
    over = threading.Event()

    def report() -> None:
        while not over.wait(0.02):
            other.send("progress")

    reporting = threading.Thread(target=report)
    reporting.start()
    begun = time.monotonic()
    draining.end(60, lambda: time.monotonic() - begun > 1)
    over.set()
    reporting.join()
    assert time.monotonic() - begun > 1


def test_the_script_is_what_is_started_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "compute-launcher"
    script.touch(0o755)
    monkeypatch.setattr(sys, "argv", [str(script), "--workers=2"])
    assert new_process.command_line() == [str(script), "--workers=2"]
    monkeypatch.setattr(sys, "argv", ["/x/launcher/__main__.py", "--workers=2"])
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "launcher", "--workers=2"])
    assert new_process.command_line() == [sys.executable, "-m", "launcher", "--workers=2"]


# --- the hand-over ---


def handover(parts: Mock, servers: list[Any], first: Channel | None = None) -> HandOver:
    """One to a new master that says nothing."""
    new = Successor(os.getpid(), Channel.pair()[0])
    ours = Parent.FIRST if first else Parent.OURSELVES
    return HandOver(parts, servers, new, ours, first)


def test_what_can_fail_of_handing_on_is_done_before_it() -> None:
    """Later, both masters would serve for ever."""
    server, parts = Mock(), Mock()
    server.prepare_to_hand_on.side_effect = OSError(errno.EMFILE, "Too many open files")
    with pytest.raises(SuccessorFailed, match="hand its sockets on: Too many open files"):
        handover(parts, [server]).put_in_charge()
    parts.instance.lend.assert_not_called()


@pytest.mark.parametrize("withdraws", [True, False])
def test_one_that_does_not_take_charge_is_killed_unless_it_drains(withdraws: bool) -> None:
    channel, other = Channel.pair()
    parts = Mock()
    parts.host_tasks.return_value = parts.history.to_hand_on.return_value = {}
    step = handover(parts, [])
    step._successor = new = Successor(os.getpid(), channel)
    new.end = Mock()  # type: ignore[method-assign]
    if withdraws:
        Predecessor(other, None).tell_failure("it was told to stop")
    else:
        other.close()
    with pytest.raises(SuccessorFailed):
        step._commit()
    assert new.end.called is not withdraws


@pytest.mark.parametrize("withdraws", [True, False])
def test_a_main_process_of_systemd_that_is_lost_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, withdraws: bool
) -> None:
    """In the history; and the last worker of this master marks the row down."""
    tmp_path.chmod(0o700)
    parts = parts_of_an_old_master()
    history = parts.history = History(str(tmp_path))
    history.start()
    stop = parts.stop = Stop(parts.board, Mock(), lambda: Policy(graceful_seconds=0))
    stop.record = history.record
    parts.notifier.variables = {"NOTIFY_SOCKET": "/run/systemd/notify"}
    parts.host_tasks.return_value = {}
    monkeypatch.setattr(parent, "find", lambda *_, **__: Parent.SYSTEMD)
    channel, other = Channel.pair()
    new = Successor(7, channel)
    new.end = Mock()  # type: ignore[method-assign]
    other.send("taken")

    def name_successor(*_: object) -> bool:
        if withdraws:
            Predecessor(other, None).tell_failure("it was told to stop")
        else:
            other.close()
        return True

    parts.notifier.name_successor.side_effect = name_successor
    one = upgrade.Upgrade(parts, facts=dict, check=Mock(), first=None, counts=Counter())
    monkeypatch.setattr(one, "_start", lambda _: new)
    monkeypatch.setattr(one, "_await_ready", lambda _: None)
    said = r"pid 7 was in charge already, and failed: it (was told to stop|ended before 'yours');"
    with pytest.raises(SuccessorLost, match=said):
        one.request().result(10)
    stop.end()
    history.end()
    parts.notifier.name_successor.assert_called_once_with(7, ANY)
    assert new.end.called is not withdraws
    assert isinstance(stop.failure, SuccessorLost)
    assert not parts.board.beside
    kinds = [event["kind"] for event in History(str(tmp_path)).after(0)]
    assert kinds == ["stop", "upgrade"]


def test_when_the_new_master_dies_before_its_last_word_the_old_one_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the foreground. It was ended already in the last step."""
    parts = parts_of_an_old_master()
    parts.stop = Stop(parts.board, Mock(), lambda: Policy(graceful_seconds=0))
    monkeypatch.setattr(parent, "find", lambda *_, **__: Parent.OURSELVES)
    channel, other = Channel.pair()
    new = Successor(start("/bin/sleep", "60"), channel)
    other.send("taken")

    def die() -> dict[str, int]:
        os.kill(new.pid, signal.SIGKILL)
        other.close()
        return {}

    parts.host_tasks.side_effect = die
    one = upgrade.Upgrade(
        parts, facts=lambda: {"runtime_path": "/run"}, check=Mock(), first=None, counts=Counter()
    )
    monkeypatch.setattr(one, "_start", lambda _: new)
    monkeypatch.setattr(one, "_await_ready", lambda _: None)
    with pytest.raises(SuccessorFailed, match="goes on as it was"):
        one.request().result(10)
    assert not parts.board.beside
    parts.history.release.assert_called_once_with()
    parts.instance.take_back.assert_called_once_with()
    assert parts.monitor.leads is True
    assert parts.stop.failure is None


def test_the_row_is_the_old_master_s_while_a_new_one_that_withdrew_drains(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the foreground. The lead's report writes it."""
    parts = parts_of_an_old_master()
    parts.stop = Stop(parts.board, Mock(), lambda: Policy(graceful_seconds=0))
    parts.host_tasks.return_value = {}
    monkeypatch.setattr(parent, "find", lambda *_, **__: Parent.OURSELVES)
    channel, other = Channel.pair()
    new, beside = Successor(os.getpid(), channel), list[bool]()
    new.end = lambda *_: beside.append(parts.board.beside)  # type: ignore[method-assign]
    other.send("taken")
    Predecessor(other, None).tell_failure("it was told to stop")
    one = upgrade.Upgrade(
        parts, facts=lambda: {"runtime_path": "/run"}, check=Mock(), first=None, counts=Counter()
    )
    monkeypatch.setattr(one, "_start", lambda _: new)
    monkeypatch.setattr(one, "_await_ready", lambda _: None)
    with pytest.raises(SuccessorFailed, match="it was told to stop"):
        one.request().result(10)
    assert beside == [False]


def test_a_master_in_charge_is_left_alone_with_the_service() -> None:
    """The process that has stayed as the parent has ended just now: there is nobody to tell."""
    first, other = Channel.pair()
    other.close()
    parts, server = Mock(), Mock()
    assert handover(parts, [server], first).retire() is None
    server.hand_on.assert_called_once_with()


def test_workers_drain_whatever_happens_after_the_hand_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    step, parts = Mock(), MagicMock()
    step.retire.side_effect = ZeroDivisionError
    monkeypatch.setattr(upgrade, "HandOver", lambda *_: step)
    one = upgrade.Upgrade(parts, facts=dict, check=Mock(), first=None, counts=Counter())
    monkeypatch.setattr(one, "_start", lambda _: Successor(7, Channel.pair()[0]))
    monkeypatch.setattr(one, "_await_ready", lambda _: None)
    parts.notifier.variables = {}
    with pytest.raises(LauncherError, match="ZeroDivisionError"):
        one.request().result(10)
    parts.stop.begin.assert_called_once_with("upgraded, pid 7 is in charge")


@pytest.mark.parametrize("killed", [True, False])
def test_the_new_master_is_told_whether_calls_were_cut_off(killed: bool) -> None:
    channel, other = Channel.pair()
    parts = parts_of_an_old_master()
    parts.stop.handed_over, parts.stop.killing.any = True, killed
    one = upgrade.Upgrade(parts, facts=dict, check=Mock(), first=None, counts=Counter())
    one._channels = [channel]
    one.finish()
    assert other.expect("drained", soon()).facts == {"killed": killed}


# --- whose child ---


def test_who_is_told_of_a_new_master() -> None:
    ours = {parent.EXEC_PID: str(os.getpid())}
    assert parent.find(ours, notifies=True, has_first=False) is Parent.SYSTEMD
    assert parent.find({}, notifies=False, has_first=False) is Parent.OURSELVES
    assert parent.find({}, notifies=False, has_first=True) is Parent.FIRST
    with pytest.raises(NotUpgradable):
        parent.find({parent.EXEC_PID: "1"}, notifies=True, has_first=False)


def child(status: int, until: int | None = None) -> int:
    """A child that ends so, when there is something to read."""
    pid = os.fork()
    if not pid:
        if until is not None:
            os.read(until, 1)
        os._exit(status)
    return pid


def test_the_first_process_ends_as_the_last_master() -> None:
    channel, other = Channel.pair()
    reader, writer = os.pipe()
    first = FirstProcess(child(3, reader), channel, Mock())
    os.write(writer, b"!")
    other.send("moved", pid=child(5))
    assert first.wait(killed=True) == 5
    assert other.expect("drained", soon()).facts == {"killed": True}


def test_the_first_process_does_not_end_since_another_thread_has_waited_for_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel, _other = Channel.pair()
    waitid, found = os.waitid, iter([Mock(si_pid=os.getpid())])  # which is no child
    monkeypatch.setattr(os, "waitid", lambda *args: next(found, None) or waitid(*args))
    assert FirstProcess(child(3), channel, Mock()).wait(killed=False) == 3


def test_a_master_that_is_killed_is_told_as_a_shell_does() -> None:
    channel, _other = Channel.pair()
    reader, _writer = os.pipe()
    pid = child(0, reader)
    hurry = Mock()
    first = FirstProcess(pid, channel, hurry)
    first.hand_on(signal.SIGKILL)
    assert first.wait(killed=False) == 128 + signal.SIGKILL
    assert FirstProcess(pid, channel, hurry).wait(killed=False) == ExitStatus.INTERNAL
    hurry.assert_not_called()


def test_the_workers_of_the_first_process_are_hurried_by_a_second_signal_or_by_the_master() -> (
    None
):
    channel, other = Channel.pair()
    hurried = threading.Event()
    reader, writer = os.pipe()
    pid = child(0, reader)
    first = FirstProcess(pid, channel, hurried.set)
    first.hand_on(signal.SIGCONT)
    first.hand_on(signal.SIGCONT)
    assert not hurried.is_set(), "no stop"
    first._pid = 1 << 22  # of nobody: the child would end of the signals
    first.hand_on(signal.SIGTERM)
    assert not hurried.is_set()
    first.hand_on(signal.SIGINT)
    assert hurried.is_set()

    hurried.clear()
    first.listen()
    other.send("hurry")
    assert hurried.wait(10)
    other.close()
    os.write(writer, b"!")
    wait_until(lambda: first._alone, 10, "it has logged the end")
    os.waitpid(pid, 0)


@pytest.mark.parametrize("noticed", ["it listens", "a signal comes"])
def test_a_drain_is_hurried_when_the_master_in_charge_dies(
    noticed: str, caplog: pytest.LogCaptureFixture
) -> None:
    channel, other = Channel.pair()
    hurried = Mock()
    pid = child(3)
    first = FirstProcess(pid, channel, hurried)
    other.close()
    assert channel.readable(10), "the child has ended, which had that end, too"
    if noticed == "it listens":
        first.listen()
        wait_until(lambda: hurried.called, 10, "the drain is hurried")
    first.hand_on(signal.SIGTERM)
    hurried.assert_called_once_with()
    assert of_the_first_process(caplog) == [f"the master in charge, pid {pid}, has ended"]
    assert first.wait(killed=False) == 3


def of_the_first_process(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What it has logged: a master of an earlier test may still end."""
    return [one.getMessage() for one in caplog.records if one.name == parent.__name__]


def test_an_end_after_the_drain_is_an_ordinary_one(caplog: pytest.LogCaptureFixture) -> None:
    channel, other = Channel.pair()
    hurried = Mock()
    first = FirstProcess(child(0), channel, hurried)

    def end() -> None:
        other.expect("drained", soon())
        other.close()

    ending = threading.Thread(target=end)
    ending.start()
    assert first.wait(killed=False) == 0
    ending.join()
    first.hand_on(signal.SIGCONT)
    hurried.assert_not_called()
    assert not of_the_first_process(caplog)


def test_the_first_process_is_not_killed_when_all_is_to_end_at_once() -> None:
    new = Taking()
    new.predecessor.first = new.predecessor.channel
    new.old.send("take", sockets=[])
    new.old.send("yours", tasks={})
    new.old.expect("done", soon())
    waiting = threading.Thread(
        target=new.takeover.wait_for_predecessor, args=(lambda: True,), daemon=True
    )
    waiting.start()
    new.old.expect("hurry", soon())
    new.old.send("drained")
    waiting.join(10)
    assert not waiting.is_alive()
    new.stop.at_once = Mock()  # type: ignore[method-assign]
    new.end()


@pytest.mark.parametrize("serves", [True, False])
def test_a_new_master_that_fails_does_not_wait_for_the_old_one_s_drain(serves: bool) -> None:
    """`systemctl` restarts the service only when it has ended."""
    new = Taking()
    new.predecessor.first = new.predecessor.channel
    new.old.send("take", sockets=[])
    new.old.send("yours", tasks={})
    new.old.expect("done", soon())
    graceful = 0.2 if serves else 0
    new.stop._policy = lambda: Policy(graceful_seconds=graceful)
    new.parts.policy = lambda: Policy(graceful_seconds=180)
    new.stop.fail(LauncherError(reason="workers kept dying"), serves=serves)
    new.stop.end()
    waiting = threading.Thread(
        target=new.takeover.wait_for_predecessor, args=(lambda: False,), daemon=True
    )
    waiting.start()
    new.old.expect("hurry", soon())
    new.old.send("drained")
    waiting.join(10)
    assert not waiting.is_alive()
    new.end()


# --- the history ---


def test_events_of_both_masters_have_numbers_in_their_order(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    old, new = History(str(tmp_path)), History(str(tmp_path), held=True)
    old.start()
    new.start()
    old.record("start", "old")
    new.record("proof", "new")
    old.hold()
    old.record("x", "while it is decided")
    new.take_over()
    old.release(new.add)
    old.record("stop", "old")
    new.record("y", "new")
    new.end()
    texts = [event["text"] for event in new.after(0)]
    assert texts == ["old", "new", "while it is decided", "old", "new"]
    again = History(str(tmp_path))
    assert [event["number"] for event in again.after(0)] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("again", [False, True], ids=["full", "full for a while"])
def test_events_that_a_full_disk_has_not_taken_are_known_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    """Whoever follows is told each event once."""
    tmp_path.chmod(0o700)
    old = History(str(tmp_path))
    old.start()
    old.record("test", "1")
    old.hold()
    old.release()
    full = Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    with monkeypatch.context() as patched:
        patched.setattr(old, "_write", full)
        for number in (2, 3):
            old.record("test", str(number))
        old.hold()
        old.release()
    if again:
        old.record("test", "4")
    new = History(str(tmp_path), held=True)
    new.start()
    old.hold()
    new.take_over(**old.to_hand_on())
    last = len(old.after(0))
    new.record("upgrade", "upgraded")
    texts = [*(str(number + 1) for number in range(last)), "upgraded"]
    assert [event["text"] for event in new.after(0)] == texts
    assert [event["text"] for event in new.after(last)] == ["upgraded"]
    new.end()
    kept = [event["text"] for event in History(str(tmp_path)).after(0)]
    assert kept == (["1", "4", "upgraded"] if again else texts)


def test_what_is_handed_on_of_the_history_fits_into_a_message(tmp_path: Path) -> None:
    history = History(str(tmp_path / "nowhere"))
    history.start()
    for number in range(MOST_EVENTS):
        history.record("test", f"{number} {'x' * 500}")
    history.hold()
    handed_on = history.to_hand_on()
    assert handed_on["number"] == MOST_EVENTS
    assert handed_on["events"][-1]["text"].startswith(f"{MOST_EVENTS - 1} ")
    one, other = Channel.pair()
    one.send("yours", history=handed_on)
    assert other.expect("yours", soon()).facts["history"] == handed_on


def test_an_upgrade_that_fails_leaves_the_history_to_the_old_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    old = History(str(tmp_path))
    old.start()
    old.hold()
    old.record("x", "meanwhile")
    old.release()
    old.end()
    assert [event["text"] for event in History(str(tmp_path)).after(0)] == ["meanwhile"]

"""The probe, with a client in place of a bus."""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self

import oslo_messaging
import pytest

from launcher.board.states import Wait
from launcher.errors import ProbeFailed
from launcher.serve import probe as module
from launcher.serve import rpc
from launcher.serve.backoff import LONGEST_PAUSE_SECONDS
from launcher.serve.probe import FirstProof, Probe, RepeatedProof

Answer = Callable[[], dict[str, Any]]


class Client:
    """Answers with `answer`, and remembers the calls."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.answer: Answer = lambda: {"pid": os.getpid()}

    def prepare(self, namespace: str) -> Self:
        self.namespace = namespace
        return self

    def call(self, context: dict[str, Any], method: str, arg: object) -> dict[str, Any]:
        self.asked.append((self.namespace, method))
        return self.answer()


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr(oslo_messaging, "get_rpc_client", lambda *_, **__: client)
    return client


@pytest.fixture
def probe(client: Client) -> Probe:
    return Probe(None, rpc.alt_target("compute", "node-1", 3), timeout=0.01)


def test_an_answer_of_this_process_is_the_proof(probe: Probe, client: Client) -> None:
    probe()
    probe()

    assert client.asked == [("baseapi", "ping")] * 2


def test_an_answer_of_another_process_proves_nothing(probe: Probe, client: Client) -> None:
    client.answer = lambda: {"pid": os.getpid() + 1}

    with pytest.raises(
        ProbeFailed, match=r"compute-alt/node-1\.3 .*: process \d+ answered in our place"
    ):
        probe()


def test_why_there_was_no_answer_is_kept(probe: Probe, client: Client) -> None:
    def time_out() -> dict[str, Any]:
        raise oslo_messaging.MessagingTimeout("too late")

    client.answer = time_out

    with pytest.raises(ProbeFailed) as caught:
        probe()
    assert isinstance(caught.value.__cause__, oslo_messaging.MessagingTimeout)


def test_after_a_failure_the_next_call_is_a_new_one(probe: Probe, client: Client) -> None:
    client.answer = lambda: {"pid": 0}
    with pytest.raises(ProbeFailed):
        probe()

    client.answer = lambda: {"pid": os.getpid()}

    probe()


def test_a_client_that_blocks_does_not_block_its_caller_nor_pile_up_calls(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = Probe(None, rpc.alt_target("compute", "node-1", 3), timeout=-0.99)  # waits 10 ms
    released = threading.Event()

    def block() -> dict[str, Any]:
        released.wait(5)
        return {"pid": os.getpid()}

    client.answer = block
    for _ in range(3):
        with pytest.raises(ProbeFailed):
            probe()
    released.set()
    probe._timeout = 5
    probe()

    assert len(client.asked) == 1


def test_a_call_that_fails_at_once_is_told_by_its_reason_and_no_time(
    probe: Probe, client: Client
) -> None:
    def fail() -> dict[str, Any]:
        raise PermissionError("peers of rabbit://u:secret@h cannot be written to")

    client.answer = fail

    with pytest.raises(ProbeFailed) as caught:
        probe()
    assert str(caught.value).endswith(
        "through the bus: PermissionError: peers of rabbit://u:***@h cannot be written to"
    )
    assert "within" not in str(caught.value)


@dataclass
class Stage:
    """A clock that moves by each wait and by the duration of each probe."""

    now: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def wait(self, timeout: float) -> bool:
        self.pauses.append(timeout)
        self.now += timeout
        return self.now > 300


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    monkeypatch.setattr(module, "time", stage)
    return stage


def prove(stage: Stage, *problems: str, took: float = 0.0) -> FirstProof:
    """A first proof that fails once for each of `problems`, and then succeeds."""
    left = list(problems)

    def probe() -> None:
        stage.now += took
        if left:
            raise ProbeFailed(target="t", reason=left.pop(0))

    proof = FirstProof(probe, stage)  # type: ignore[arg-type]
    proof.run()
    return proof


def test_a_first_proof_that_fails_at_once_is_tried_again_after_growing_pauses(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    proof = prove(stage, *["refused"] * 20)

    assert proof.given.is_set()
    assert len(stage.pauses) == 20
    assert stage.pauses[0] <= 0.2
    assert min(stage.pauses[10:]) >= LONGEST_PAUSE_SECONDS / 2
    assert [record.getMessage() for record in caplog.records] == [
        "no round trip to t through the bus: refused; trying again"
    ]


def test_a_first_proof_that_took_its_time_to_fail_is_tried_again_at_once(stage: Stage) -> None:
    prove(stage, *["no answer"] * 10, took=10)

    assert set(stage.pauses) == {0.0}


def test_another_reason_is_said_and_the_last_one_kept(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    proof = prove(stage, "refused", "refused", "away")

    assert len(caplog.records) == 2
    assert proof.problem == "no round trip to t through the bus: away"


def test_a_stop_ends_the_first_proof(stage: Stage) -> None:
    proof = prove(stage, *["refused"] * 1000)

    assert not proof.given.is_set()


class Served:
    """A proof of a worker that serves; its probe fails, and a stop may come meanwhile."""

    def __init__(self) -> None:
        self.noted: list[bool] = []
        self.calls = 0
        self.stop = threading.Event()
        self.stop_comes = False
        self.forgiven = 0
        self.in_hand: list[object] = []
        slot: Any = SimpleNamespace(note_probe=self._note, forgive_probe=self._forgive)
        tracker: Any = SimpleNamespace(in_hand=lambda: self.in_hand)
        self.proof = RepeatedProof(slot, tracker, self.stop, threads=64)

    def _note(self, *, succeeded: bool, why: Wait) -> None:
        assert why is (Wait.NONE if succeeded else Wait.ABSENT)
        self.noted.append(succeeded)

    def _forgive(self) -> None:
        self.forgiven += 1

    def probe(self) -> None:
        self.calls += 1
        if self.stop_comes:
            self.stop.set()
        self.proof.note(succeeded=False)
        raise ProbeFailed(target="compute-alt/node-1.0", reason="the server has left")


def test_a_probe_that_fails_is_a_failure() -> None:
    served = Served()
    with pytest.raises(ProbeFailed):
        served.proof.prove(served.probe)
    assert served.noted == [False]


def test_a_probe_that_a_stop_cuts_short_is_no_failure() -> None:
    """In a drain or roll: the servers that it calls leave meanwhile."""
    served = Served()
    served.stop_comes = True
    served.proof.prove(served.probe)
    assert (served.calls, served.noted) == (1, [])


def test_in_a_drain_there_are_no_probes() -> None:
    served = Served()
    served.stop.set()
    served.proof.prove(served.probe)
    assert (served.calls, served.noted) == (0, [])


@pytest.mark.parametrize(("calls", "noted", "forgiven"), [(63, [False], 0), (64, [], 1)])
def test_a_probe_that_fails_while_all_threads_have_a_call_proves_nothing(
    calls: int, noted: list[bool], forgiven: int
) -> None:
    served = Served()
    served.in_hand = [object()] * calls
    with pytest.raises(ProbeFailed):
        served.proof.prove(served.probe)
    assert (served.noted, served.forgiven) == (noted, forgiven)


def test_a_probe_that_succeeds_is_noted_whatever_the_threads_do() -> None:
    served = Served()
    served.in_hand = [object()] * 64
    served.proof.note(succeeded=True)
    served.stop.set()
    served.proof.note(succeeded=True)
    assert (served.noted, served.forgiven) == ([True, True], 0)

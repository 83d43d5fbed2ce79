"""The probe, with a client in place of a bus."""

import os
import threading
from collections.abc import Callable
from typing import Any, Self

import oslo_messaging
import pytest

from launcher.errors import NoAnswer
from launcher.serve import rpc
from launcher.serve.probe import Probe

Answer = Callable[[], dict[str, Any]]


class Client:
    """Answers as it is told to, and remembers what it was asked."""

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

    with pytest.raises(NoAnswer, match=r"no answer to ping from compute-alt/node-1\.3"):
        probe()


def test_why_there_was_no_answer_is_kept(probe: Probe, client: Client) -> None:
    def time_out() -> dict[str, Any]:
        raise oslo_messaging.MessagingTimeout("too late")

    client.answer = time_out

    with pytest.raises(NoAnswer) as caught:
        probe()
    assert isinstance(caught.value.__cause__, oslo_messaging.MessagingTimeout)


def test_after_a_failure_the_next_call_is_a_new_one(probe: Probe, client: Client) -> None:
    client.answer = lambda: {"pid": 0}
    with pytest.raises(NoAnswer):
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
        with pytest.raises(NoAnswer):
            probe()
    released.set()
    probe._timeout = 5
    probe()

    assert len(client.asked) == 1

"""The client of the chaos test's judge: what it gives up it also closes."""

import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import oslo_messaging
import pytest

from tests.support import witness as module
from tests.support.waiting import wait_until
from tests.support.witness import STUCK_SECONDS, Witness

SOON = 10


class Transports:
    """Each with a client whose calls hang until the bus answers."""

    def __init__(self) -> None:
        self.answers = threading.Event()
        self.made: list[int] = []
        self.closed: list[int] = []

    def make(self, _: object) -> Any:
        number = len(self.made)
        self.made.append(number)
        return SimpleNamespace(cleanup=lambda: self.closed.append(number))

    def client(self, *_: object, **__: object) -> Any:
        client = SimpleNamespace(call=lambda *_, **__: self.answers.wait(SOON))
        return SimpleNamespace(prepare=lambda namespace: client)


@pytest.fixture
def transports(monkeypatch: pytest.MonkeyPatch) -> Transports:
    transports = Transports()
    monkeypatch.setattr(oslo_messaging, "get_rpc_transport", transports.make)
    monkeypatch.setattr(oslo_messaging, "get_rpc_client", transports.client)
    return transports


def test_a_client_that_is_given_up_is_closed_once_its_calls_are_over(
    transports: Transports, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An hour of alarms leaves hundreds of connections."""
    service: Any = SimpleNamespace(runtime_path=tmp_path, config_file=tmp_path, directory=tmp_path)
    notify: Any = SimpleNamespace(messages=[])
    monkeypatch.setattr(module, "configuration", lambda *_: None)
    witness = Witness(service, notify, "unix:", "node-1", [0])
    began = time.monotonic()
    look = witness._look()
    later = SimpleNamespace(monotonic=lambda: began + STUCK_SECONDS + 1)
    monkeypatch.setattr(module, "time", later)

    witness._give_up_stuck_clients()
    assert (transports.made, transports.closed) == ([0, 1], [])
    transports.answers.set()
    wait_until(look.main.done, SOON, "the call is over")
    wait_until(look.own[0].done, SOON, "the other call is over")
    witness._give_up_stuck_clients()

    wait_until(lambda: transports.closed == [0], SOON, "the first one is closed")

"""The drain of a program: each step is taken, whatever the others raise."""

import logging
import sys
import threading
from contextlib import nullcontext
from functools import partial

import pytest

from launcher.program.draining import drain


class Service:
    """Notes what is called, and raises where it should."""

    def __init__(self, steps: list[str], name: str, fault: str = "") -> None:
        self._steps, self.name, self._fault = steps, name, fault
        self.ran = threading.Event()

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Note it, and fail perhaps."""
        self._note("stop")

    def wait(self) -> None:
        """Likewise."""
        self._note("wait")

    def _note(self, step: str) -> None:
        self._steps.append(f"{step} {self.name}")
        if step == self._fault:
            raise OSError(f"{step} of {self.name} fails")


class Servers:
    """The RPC servers, likewise."""

    def __init__(self, steps: list[str], fault: str = "") -> None:
        self._steps, self._fault = steps, fault

    def stop_taking(self) -> None:
        """Note it, and fail perhaps."""
        self._steps.append("stop taking")
        if self._fault:
            raise OSError(self._fault)

    def wait_until_empty(self) -> None:
        """Note it."""
        self._steps.append("wait until empty")


ALL = ["stop two", "stop one", "wait two", "wait one", "stop taking", "wait until empty"]


def test_services_stop_in_the_reverse_order_and_calls_end_last() -> None:
    steps: list[str] = []
    drain([Service(steps, "one"), Service(steps, "two")], Servers(steps))
    assert steps == ALL


@pytest.mark.parametrize(
    ("faults", "first", "others"),
    [
        (("", "wait"), "wait of two fails", []),
        (("wait", "wait"), "wait of two fails", ["wait of one fails"]),
    ],
)
def test_a_wait_that_raises_skips_nothing(
    caplog: pytest.LogCaptureFixture, faults: tuple[str, str], first: str, others: list[str]
) -> None:
    steps: list[str] = []
    services = [
        Service(steps, name, fault) for name, fault in zip(("one", "two"), faults, strict=True)
    ]
    with caplog.at_level(logging.ERROR), pytest.raises(OSError, match=first):
        drain(services, Servers(steps))
    assert steps == ALL
    told = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert told == others


def test_no_call_is_taken_while_one_waits_for_a_service_that_did_not_stop() -> None:
    """It may be waited for in vain, until the master kills the worker with the calls in hand."""
    steps: list[str] = []
    with pytest.raises(OSError, match="stop of two fails"):
        drain([Service(steps, "one"), Service(steps, "two", "stop")], Servers(steps))
    assert steps == [*ALL[:2], "stop taking", *ALL[2:]]


def test_calls_end_though_a_server_cannot_be_stopped() -> None:
    steps: list[str] = []
    with pytest.raises(OSError, match="no channel"):
        drain([Service(steps, "one")], Servers(steps, "no channel"))
    assert steps[-1] == "wait until empty"


@pytest.mark.parametrize("code", [None, 0, 1])
def test_a_stop_that_exits_skips_nothing(
    monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    """An exit with success is one."""
    steps: list[str] = []
    service = Service(steps, "one")
    monkeypatch.setattr(service, "stop", partial(sys.exit, code))
    with pytest.raises(SystemExit) if code else nullcontext():
        drain([service], Servers(steps))
    assert steps[-1] == "wait until empty"

"""Whether a program waits for its broker, and what is said of it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from launcher.board.board import Board
from launcher.errors import LauncherError
from launcher.program import connecting
from launcher.program.connecting import Connecting, told
from launcher.rabbit.troubles import Troubles
from tests.support.waiting import wait_until

PLACE: Any = SimpleNamespace(connection=SimpleNamespace(hostname="::1", port=5672))


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Connecting:
    monkeypatch.setattr(connecting, "SAID_AFTER_SECONDS", 0.0)
    found = Connecting("x")
    found.begin(Troubles())
    return found


def test_nothing_waits_at_first(program: Connecting) -> None:
    assert program.why() is None


def test_a_silent_broker_is_named_while_a_connection_is_made(program: Connecting) -> None:
    heard: list[str] = []
    program.connect(PLACE, lambda: heard.append(f"{program.why()}; {program.why(7)}"))
    sentence = "bus [::1]:5672 cannot be reached: no answer"
    assert heard == [f"{sentence}; {sentence}; tried for 7 s"]
    assert program.why() is None


def test_a_connection_that_fails_is_over(program: Connecting) -> None:
    def fail() -> None:
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        program.connect(PLACE, fail)
    assert program.why() is None


def test_it_ends_when_the_time_is_over(program: Connecting) -> None:
    given_up: list[LauncherError] = []
    slot = Board(1).slot(0)

    def block() -> None:
        with told(slot, program, 0.0, given_up.append):
            wait_until(lambda: given_up and slot.view().outage, 60, "it is told")

    program.connect(PLACE, block)
    assert given_up[0].exit_status == 69
    assert slot.view().outage == ""


def test_another_reason_is_none_of_its_own(program: Connecting) -> None:
    """A main() that hangs elsewhere is the master's to end."""
    slot = Board(1).slot(0)
    given_up: list[LauncherError] = []
    looked: list[object] = []
    why: Callable[..., object] = program.why

    def look(*args: Any) -> object:
        looked.append(args)
        return why(*args)

    program.why = look  # type: ignore[assignment,method-assign]
    with told(slot, program, 0.0, given_up.append):
        wait_until(lambda: len(looked) > 4, 60, "it has looked")
    assert not given_up

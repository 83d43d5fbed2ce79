"""The keys of `status --watch`: each asks once, and a slip does nothing."""

from typing import Any

import pytest

from launcher.cli.watch_keys import HELP, Action, Keys


def answer(paused: object = None) -> dict[str, Any]:
    """Two workers, and a spare."""
    workers = [{"slot": 0}, {"slot": 1}, {"slot": 500}]
    return {"workers": workers, "workers_wanted": 2, "paused": paused}


@pytest.mark.parametrize(
    ("keys", "question", "action"),
    [
        ("r1\n", "restart which worker? 1", Action("restart", 1)),
        ("s0\r", "stacks of which worker? 0", Action("report", 0)),
        ("s9\x7f1\r", "stacks of which worker? 1", Action("report", 1)),
        ("py", "pause all workers?", Action("pause")),
        ("+y", "scale to 3 workers?", Action("scale", 3)),
        ("-y", "scale to 1 workers?", Action("scale", 1)),
    ],
)
def test_a_key_asks_once(keys: str, question: str, action: Action) -> None:
    asked = Keys()
    for key in keys[:-1]:
        assert asked.press(key, answer()) is None
    assert asked.line.startswith(question)
    assert asked.press(keys[-1], answer()) == action
    assert asked.line == HELP


@pytest.mark.parametrize("keys", ["r\x1b", "r1\x1b", "r\r", "rx", "pn", "p\r", "+\x1b", "x", "1"])
def test_another_key_does_nothing(keys: str) -> None:
    asked = Keys()
    assert [asked.press(key, answer()) for key in keys] == [None] * len(keys)
    assert asked.line == HELP


def test_a_worker_that_is_not_there_is_told() -> None:
    asked = Keys()
    assert [asked.press(key, answer()) for key in "r7\r"] == [None] * 3
    assert asked.line.startswith("there is no worker 7.")


def test_what_is_paused_is_resumed() -> None:
    asked = Keys()
    asked.press("p", answer(paused={"slots": [1]}))
    assert asked.press("y", answer()) == Action("resume")


def test_nothing_is_asked_without_a_service_and_none_is_left() -> None:
    asked = Keys()
    asked.press("r", None)
    assert asked.line == HELP
    asked.press("-", answer() | {"workers_wanted": 1})
    assert asked.line == HELP


@pytest.mark.parametrize("key", ["+", "-"])
def test_nothing_is_scaled_where_an_old_master_does_not_tell_how_many_are_wanted(key: str) -> None:
    asked = Keys()
    asked.press(key, {"workers": [{"slot": 0}]})
    assert asked.line == HELP

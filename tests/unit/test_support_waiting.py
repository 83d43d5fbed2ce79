"""Tests wait by `wait_until`; were it wrong, none of them would say anything."""

import time
from collections.abc import Iterator

import pytest

from tests.support.waiting import wait_until


def test_waiting_returns_what_the_condition_returned() -> None:
    assert wait_until(lambda: "here", 1, "it is here") == "here"


def test_waiting_goes_on_until_the_condition_is_true() -> None:
    values: Iterator[object] = iter([0, "", None, [], 42, 43])
    assert wait_until(lambda: next(values), 5, "the answer", interval=0) == 42


def test_waiting_past_the_deadline_names_what_was_awaited_and_what_was_seen() -> None:
    began = time.monotonic()
    with pytest.raises(AssertionError, match=r"0\.05 s still not: pigs fly; last seen: \[\]"):
        wait_until(list, 0.05, "pigs fly")
    assert time.monotonic() - began >= 0.05


def test_a_test_may_say_what_is_to_be_shown_instead_of_the_condition() -> None:
    with pytest.raises(AssertionError, match="last seen: 'a sty'"):
        wait_until(lambda: False, 0, "pigs fly", show=lambda: "a sty")


def test_a_condition_that_came_true_while_the_test_was_starved_is_still_seen() -> None:
    """The deadline passes between two looks; what has happened by then counts."""
    values = iter([False, True])
    assert wait_until(lambda: next(values), 0.01, "it has happened", interval=0.05)


def test_an_error_in_the_condition_is_not_waited_out() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 / 0, 60, "never asked again")

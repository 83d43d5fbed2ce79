"""A time limit for any call."""

import threading

import pytest

from launcher.deadline import within

SOON = 30.0


class LateError(Exception):
    """The error after the time limit."""


def test_a_result_in_time() -> None:
    assert within(SOON, lambda: 42, LateError) == 42


def test_an_error_in_time() -> None:
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        within(SOON, fail, LateError)


def test_a_time_out_of_the_action_s_own_is_no_lateness() -> None:
    def fail() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        within(SOON, fail, LateError)


def test_what_does_not_end_is_left_alone() -> None:
    end = threading.Event()
    with pytest.raises(LateError):
        within(0.01, end.wait, LateError)
    end.set()

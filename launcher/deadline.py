"""A time limit for calls that have none, or do not keep it, such as those of a bus driver."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


def within(seconds: float, action: Callable[[], T], late: Callable[[], Exception]) -> T:
    """Run `action` in a new thread; return its result or raise its error.

    :param late: makes the error to raise after `seconds`. The thread then goes on, and ends with
        the process.
    """
    future = begin(action)
    try:
        return future.result(seconds)
    except TimeoutError:
        if future.done():  # raised by the action
            raise
    raise late()


def begin(action: Callable[[], T]) -> "Future[T]":
    """Run `action` in a new thread; the future gets its result or its error."""
    future: Future[T] = Future()
    threading.Thread(target=_run, args=(action, future), name="bounded", daemon=True).start()
    return future


def _run(action: Callable[[], T], future: "Future[T]") -> None:
    try:
        future.set_result(action())
    except BaseException as error:  # noqa: BLE001  # raised again by result(), in the caller
        future.set_exception(error)

"""What a worker has in hand: calls of clients, and work that goes on behind them."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext
from functools import cached_property, wraps
from inspect import getattr_static
from typing import Any, NamedTuple

import oslo_messaging

from launcher.counters import SlotCounters
from launcher.serve.rpc import is_tracked
from launcher.slot import Slot

LOG = logging.getLogger(__name__)

REMINDER_SECONDS = 10.0  # between two lines about what a drain waits for


class Work(NamedTuple):
    """Something in hand.

    :ivar request: the request's ID, if the client gave one.
    :ivar began: monotonic nanoseconds.
    """

    name: str
    request: str
    began: int

    def __str__(self) -> str:
        request = f" ({self.request})" if self.request else ""
        return f"{self.name}{request} {(time.monotonic_ns() - self.began) / 1e9:.0f} s"


class Tracker:
    """Counts on the board, and knows what is in hand. Any thread."""

    def __init__(self, slot: Slot, counters: SlotCounters) -> None:
        self._slot = slot
        self.counters = counters
        self._changed = threading.Condition()
        self._work: dict[object, Work] = {}  # in the order of their beginning
        self._background: set[object] = set()
        self._shown: Work | None = None

    def in_hand(self) -> list[Work]:
        """Calls and background work, oldest first."""
        with self._changed:
            return list(self._work.values())

    @contextmanager
    def call(self, method: str, request: str = "") -> Iterator[None]:
        """Around one call."""
        key = object()
        self._begin(key, method, request)
        try:
            yield
        except BaseException:  # a method that calls sys.exit is over too
            self._end(key, "calls_failed")
            raise
        self._end(key, "calls_done")

    def track(self, future: "Future[Any]", name: str) -> "Future[Any]":
        """Have a drain wait for a future as for a call; gives it back."""
        with self._changed:
            self._background.add(future)
        self._begin(future, name, "")
        future.add_done_callback(self._end)
        return future

    def wait_for_background(self, timeout: float | None) -> bool:
        """Wait until no tracked future is left; whether none is, after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._background, timeout)

    def _begin(self, key: object, name: str, request: str) -> None:
        with self._changed:
            self._work[key] = Work(name, request, time.monotonic_ns())
            self._show()

    def _end(self, key: object, outcome: str | None = None) -> None:
        with self._changed:
            work = self._work.pop(key, None)
            self._background.discard(key)
            if outcome is not None and work is not None:
                self._slot.put(outcome, self._slot.get(outcome) + 1)
                seconds = (time.monotonic_ns() - work.began) / 1e9
                self.counters.count_call(work.name, seconds, failed=outcome == "calls_failed")
            self._show()
            self._changed.notify_all()

    def _show(self) -> None:
        self._slot.put("calls_in_hand", len(self._work))
        oldest = next(iter(self._work.values()), None)
        if oldest is not self._shown:
            self._shown = oldest
            self._slot.show_oldest_call(
                oldest.name if oldest else "", oldest.began if oldest else 0
            )


class Reminder:
    """Says in a drain what it still waits for, every ten seconds, in a thread of its own."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._over = threading.Event()

    def __enter__(self) -> None:
        threading.Thread(target=self._run, name="drain-reminder", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(REMINDER_SECONDS):
            if work := self._tracker.in_hand():
                LOG.info("still waiting for %s", describe(work))


def describe(work: Sequence[Work]) -> str:
    """What is in hand, in a few words: the number, and the oldest."""
    if not work:
        return "no calls in hand"
    return f"{len(work)} call{'s'[: len(work) > 1]} in hand, oldest {work[0]}"


class TrackedEndpoint:
    """An endpoint whose exposed methods are tracked; everything else of it is not to be seen."""

    def __init__(self, endpoint: Any, tracker: Tracker) -> None:
        self.untracked = endpoint
        self._tracker = tracker
        self.target = getattr(endpoint, "target", None) or oslo_messaging.Target()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if isinstance(getattr_static(self.untracked, name, None), property | cached_property):
            raise AttributeError(name)  # no client is to have it looked at
        method = getattr(self.untracked, name)
        if not getattr(method, "exposed", False):
            raise AttributeError(name)
        tracked = self._guard(name, method)
        setattr(self, name, tracked)
        return tracked

    def _guard(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        counted = is_tracked(method)

        @wraps(method)
        def guarded(context: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
            request = str(context.get("request_id") or "")
            with self._tracker.call(name, request) if counted else nullcontext():
                try:
                    return method(context, *args, **kwargs)
                except Exception:
                    raise
                except SystemExit as error:
                    raise RuntimeError(f"{name} called sys.exit({error.code!r})") from error
                except BaseException as error:  # which oslo.messaging would answer to nobody
                    raise RuntimeError(f"{name} raised {error!r}") from error

        return guarded

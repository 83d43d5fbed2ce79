"""Tracks the calls in hand of a worker, and the background work that calls leave behind."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import nullcontext
from functools import cached_property, wraps
from inspect import getattr_static
from typing import Any, NamedTuple

import oslo_messaging

from launcher.board.counters import SlotCounters
from launcher.board.slot import Slot
from launcher.board.slot_fields import SECOND
from launcher.foreign_text import fit
from launcher.rpc_results import NO_LIMITS, Limits, check_answer, refuse_promise, told
from launcher.serve.forked_children import ChildrenEndHere
from launcher.serve.rpc import awaited, is_tracked, sent_at
from launcher.serve.slow_calls import SlowCalls, Watched
from launcher.task_shortage import begin

LOG = logging.getLogger(__name__)

REQUEST_CHARACTERS = 100  # of a request's ID, which the client chose
SKEW_SECONDS = 1.0  # between two clocks: from there on it is worth a warning
MOST_WAIT_SECONDS = 86400.0  # the time of sending is what a client or a broker says
REMINDER_SECONDS = 10.0  # between two log lines of a drain


class Work(NamedTuple):
    """A call in hand, or background work.

    :ivar request: the request's ID, if the client gave one.
    :ivar began: monotonic nanoseconds.
    """

    name: str
    request: str
    began: int

    def __str__(self) -> str:
        request = f" ({fit(self.request, REQUEST_CHARACTERS)})" if self.request else ""
        return f"{fit(self.name)}{request} {(time.monotonic_ns() - self.began) / SECOND:.0f} s"


class Tracker:
    """Keeps the calls in hand and background work, and counts them on the board. Any thread."""

    def __init__(self, slot: Slot, counters: SlotCounters, warn_after: float = 0.0) -> None:
        """:param warn_after: seconds after which the log tells of a call; 0: never."""
        self._slot = slot
        self._warn_after = warn_after
        self._slow = SlowCalls()
        self.counters = counters
        self._changed = threading.Condition()
        self._work: dict[object, Work] = {}  # oldest first
        self._background: set[object] = set()
        self._shown: Work | None = None
        self._told_of_clocks = False

    def in_hand(self) -> list[Work]:
        """Calls and background work, oldest first."""
        with self._changed:
            return list(self._work.values())

    def call(self, method: str, request: str = "", warn_after: float | None = None) -> "Call":
        """Return the context of one call.

        :param warn_after: as in the constructor, for this call. None: as there.
        """
        return Call(self, method, request, self._warn_after if warn_after is None else warn_after)

    def track(self, future: "Future[Any]", name: str) -> "Future[Any]":
        """Make a drain wait for a future as for a call; return the future."""
        with self._changed:
            self._background.add(future)
        self.begin(future, name, "")
        future.add_done_callback(self.end)
        return future

    def wait_for_background(self, timeout: float | None) -> bool:
        """Wait until all tracked futures are done, for at most `timeout` seconds (None: no limit).
        Returns whether they are."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._background, timeout)

    def wait_until_empty(self, timeout: float | None = None) -> bool:
        """Wait until nothing is in hand, for at most `timeout` seconds (None: no limit). Returns
        whether nothing is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._work, timeout)

    def begin(self, key: object, name: str, request: str, warn_after: float = 0.0) -> None:
        """Take work in hand. :param warn_after: if not 0, this thread does the work."""
        work = Work(name, request, time.monotonic_ns())
        with self._changed:
            self._work[key] = work
            self._show()
        if warn_after:
            thread = threading.get_ident()
            self._slow.watch(key, Watched(work.__str__, thread, work.began, warn_after))

    def count_wait(self, method: str, sent: int) -> None:
        """Count how long a call has waited until now. :param sent: see `rpc.sent_at`."""
        if not sent:
            return
        waited = (time.monotonic_ns() - sent) / SECOND
        if waited < 0 and not self._told_of_clocks:
            self._told_of_clocks = True
            text = "a call was sent %.3f s from now, by the clock of another host: no wait"
            LOG.log(logging.WARNING if waited <= -SKEW_SECONDS else logging.INFO, text, -waited)
        if waited < MOST_WAIT_SECONDS:  # else no clock says such a thing
            self.counters.count_wait(method, max(0.0, waited))

    def end(self, key: object, outcome: str | None = None) -> None:
        """The work is done. :param outcome: the word of the slot that counts it."""
        self._slow.forget(key)
        with self._changed:
            work = self._work.pop(key, None)
            self._background.discard(key)
            if outcome is not None and work is not None:
                self._slot.put(outcome, self._slot.get(outcome) + 1)
                seconds = (time.monotonic_ns() - work.began) / SECOND
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


class Call:
    """One call: in hand until the block ends, failed if the block raises anything."""

    __slots__ = ("_method", "_request", "_tracker", "_warn_after")  # each call makes one

    def __init__(self, tracker: Tracker, method: str, request: str, warn_after: float) -> None:
        self._tracker, self._method, self._request = tracker, method, request
        self._warn_after = warn_after

    def __enter__(self) -> None:
        self._tracker.begin(self, self._method, self._request, self._warn_after)
        self._tracker.count_wait(self._method, sent_at.get())

    def __exit__(self, kind: object, *_: object) -> None:
        self._tracker.end(self, "calls_failed" if kind else "calls_done")


class Reminder:
    """Logs every REMINDER_SECONDS what a drain still waits for, in a separate thread."""

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._over = threading.Event()

    def __enter__(self) -> None:
        begin(threading.Thread(target=self._run, name="drain-reminder", daemon=True))

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _run(self) -> None:
        while not self._over.wait(REMINDER_SECONDS):
            if work := self._tracker.in_hand():
                LOG.info("still waiting for %s", describe(work))


def describe(work: Sequence[Work]) -> str:
    """The number of calls in hand and the oldest, in a few words."""
    if not work:
        return "no calls in hand"
    return f"{len(work)} call{'s'[: len(work) > 1]} in hand, oldest {work[0]}"


class TrackedEndpoint:
    """An endpoint whose exposed methods are tracked. It hides all other attributes."""

    def __init__(self, endpoint: Any, tracker: Tracker, limits: Limits = NO_LIMITS) -> None:
        """:param limits: of the size of an answer."""
        self.untracked = endpoint
        self._tracker = tracker
        self._limits = limits
        self.target = getattr(endpoint, "target", None) or oslo_messaging.Target()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if isinstance(getattr_static(self.untracked, name, None), property | cached_property):
            raise AttributeError(name)  # no client may have it evaluated
        method = getattr(self.untracked, name)
        if not getattr(method, "exposed", False):
            raise AttributeError(name)
        tracked = self._guard(name, method)
        setattr(self, name, tracked)
        return tracked

    def _guard(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        counted, warn_after = is_tracked(method), getattr(method, "warn_after", None)

        @wraps(method)
        def guarded(context: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
            request = str(context.get("request_id") or "")
            tracker = self._tracker
            with tracker.call(name, request, warn_after) if counted else nullcontext():
                try:
                    with ChildrenEndHere(name):
                        answer = method(context, *args, **kwargs)
                    return self._checked(name, answer)
                except BaseException as error:  # noqa: BLE001  # the client gets any error
                    raise told(error, name, self._limits)  # noqa: B904  # `told` decides

        return guarded

    def _checked(self, name: str, answer: object) -> object:
        """Return the answer of a method. Raise if it cannot be sent, unless this is a cast."""
        refuse_promise(answer, name)
        if awaited.get():
            check_answer(answer, name, self._limits)
        return answer

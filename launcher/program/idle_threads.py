"""Idle threads of futurist: they end when they are told to. All private names of futurist's pools.

They look once a second whether they are to end. A program that ends a pool in its `main()` waits
for that: a second of the `main()` of some programs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from launcher.program.library_names import Name

IDLE_SECONDS = 0.03  # for a thread that is not woken: another one has taken its piece of work

NAMES = (
    Name("futurist", "futurist._thread", "ThreadWorker.MAX_IDLE_FOR"),
    Name("futurist", "futurist._thread", "ThreadWorker.stop"),
)


class _Nothing:
    """A piece of work that wakes the thread which does it."""

    def run(self) -> None:
        """Do nothing: the thread looks afterwards whether it is to end."""


@contextmanager
def end_at_once() -> Iterator[None]:
    """Have idle threads end as soon as they are told to in the block."""
    from futurist import _thread  # noqa: PLC0415  # after eventlet is hidden

    worker: Any = _thread.ThreadWorker
    before = worker.MAX_IDLE_FOR, worker.stop

    def stop(self: Any) -> None:
        before[1](self)
        self.work_queue.put(_Nothing())

    worker.MAX_IDLE_FOR, worker.stop = IDLE_SECONDS, stop
    try:
        yield
    finally:
        worker.MAX_IDLE_FOR, worker.stop = before

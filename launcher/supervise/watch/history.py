"""What happened to the service, for `history`: under this master, and under those before it.

Two files in the state directory keep it, each with half of the bound. When one is full, the other
one is emptied and written on. Both are opened before the first fork: a descriptor that is opened
later could get into a worker. A thread writes them, so that a disk that hangs holds up nobody.
"""

import json
import logging
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from launcher.directories import checked_files
from launcher.directories.beneath import Beneath
from launcher.supervise.watch.history_files import (
    FILES,
    HALF_BYTES,
    last_number,
    parse,
    read_open,
)
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)

MOST_EVENTS = 1000  # that are kept in memory, and told
MOST_BYTES_HANDED_ON = 1 << 16  # fits into one message
LAST_SECONDS = 1.0  # for the thread to write what is left at the end
OPEN_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC


Record = Callable[..., None]  # as History.record


def nothing(kind: str, text: str, **facts: Any) -> None:
    """Record nothing."""


class History:
    """One a master. Any thread records and asks."""

    def __init__(
        self,
        state_path: str,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        held: bool = False,
    ) -> None:
        """Called in the master before the first fork, with the lock of the state directory. If the
        files cannot be opened, that is logged, and events are kept in memory only.

        :param held: as after `hold`; `take_over` ends it.
        """
        self._now = now
        self._lock = threading.Lock()
        self._queue: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._unwritten: deque[bytes] = deque(maxlen=MOST_EVENTS)  # lines that are in no file
        self._trouble = Recurring()
        self._torn = True  # the file may end within a line
        try:
            self._descriptors = _open(state_path)
        except OSError as error:
            self._descriptors = []
            LOG.warning("history is not kept in %s: %s", state_path, error.strerror)
        self._lines = deque(read_open(self._descriptors), MOST_EVENTS)
        self._number = last_number(list(self._lines))
        # Events of an upgrade, until it is decided:
        self._held: list[dict[str, Any]] | None = [] if held else None
        self._elsewhere: Callable[[dict[str, Any]], object] | None = None
        self._find_current()
        self._writer = threading.Thread(target=self._write_all, name="history", daemon=True)

    def _find_current(self) -> None:
        self._current = max(
            self._descriptors, key=lambda one: last_number(read_open([one])), default=-1
        )

    def start(self) -> None:
        """Start the thread that writes."""
        self._writer.start()

    def end(self) -> None:
        """Write what is left, within LAST_SECONDS."""
        self._queue.put(None)
        if self._writer.ident is not None:
            self._writer.join(LAST_SECONDS)

    def close_in_child(self) -> None:
        """Called in a worker, right after the fork."""
        for descriptor in self._descriptors:
            os.close(descriptor)

    def record(self, kind: str, text: str, **facts: Any) -> None:
        """Note an event, with the present time.

        :param kind: one word. :param facts: as JSON has them, such as slot and pid.
        """
        at = self._now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self.add({"at": at, "master": os.getpid(), "kind": kind, "text": text, **facts})

    def add(self, event: dict[str, Any]) -> None:
        """Note an event of this or another master, under the next number."""
        with self._lock:
            if self._held is not None:
                self._held.append(event)
            elif self._elsewhere:
                self._elsewhere(event)
            else:
                self._add(event)

    def _add(self, event: dict[str, Any]) -> None:
        self._number += 1
        line = json.dumps({"number": self._number, **event}).encode("ascii")
        self._lines.append(line)
        self._queue.put(line)

    def hold(self) -> None:
        """In an upgrade: write what there is, and keep later events until `release`."""
        written = threading.Event()
        with self._lock:
            self._held = []
            self._queue.put(written)
        written.wait(LAST_SECONDS)

    def release(self, elsewhere: Callable[[dict[str, Any]], object] | None = None) -> None:
        """After `hold`: note the events since, here or elsewhere, and all later ones.

        :param elsewhere: called with each of them; another master writes the files.
        """
        with self._lock:
            held, self._held = self._held or [], None
            self._elsewhere = elsewhere
            for event in held:
                (elsewhere or self._add)(event)

    def to_hand_on(self) -> dict[str, Any]:
        """After `hold`: what another master cannot read in the files, as `take_over` takes it. Of
        more than a message can have, the newest."""
        lines, size = list[bytes](), 0
        for line in reversed(self._unwritten.copy()):
            if (size := size + len(line)) > MOST_BYTES_HANDED_ON:
                break
            lines.insert(0, line)
        return {"number": self._number, "events": [json.loads(line) for line in lines]}

    def take_over(self, number: int = 0, events: Iterable[dict[str, Any]] = ()) -> None:
        """As `release`, in the new master of an upgrade: read the files, which the other one has
        written meanwhile, and write them from here on.

        :param number: the last one that the other has given. :param events: those that it could
            not write, with their numbers.
        """
        with self._lock:
            read = {one["number"]: line for line in self._read() if (one := parse(line))}
            more = {one["number"]: json.dumps(one).encode("ascii") for one in events}
            known = sorted((read | more).items())
            self._lines = deque((line for _, line in known), MOST_EVENTS)
            self._number = max([number, *read, *more])
            self._find_current()
            for later in sorted(more.keys() - range(max(read, default=0) + 1)):
                self._queue.put(more[later])
        self.release()

    def _read(self) -> list[bytes]:
        return read_open(self._descriptors)

    def record_start(self, text: str) -> None:
        """Note that this master starts, and whether the one before it has noted its end."""
        with self._lock:
            last = parse(self._lines[-1]) if self._lines else None
        if last is not None and last.get("kind") != "end":
            text = f"{text}; the master before it ended without a word"
        self.record("start", text)

    def after(self, number: int) -> list[dict[str, Any]]:
        """Return the events with a higher number than this. All, if none has reached the number:
        then the files were lost meanwhile."""
        with self._lock:
            lines, last = list(self._lines), self._number
        events = [event for line in lines if (event := parse(line)) is not None]
        return [event for event in events if number > last or event["number"] > number]

    def _write_all(self) -> None:
        while (line := self._queue.get()) is not None:
            if isinstance(line, threading.Event):
                line.set()
                continue
            try:
                if self._descriptors:
                    self._write(line)
                else:
                    self._unwritten.append(line)
            except OSError as error:
                self._unwritten.append(line)
                if self._trouble.failed():
                    LOG.error("history cannot be written: %s", error.strerror)
            else:
                if self._trouble.well():
                    LOG.info("history can be written again")

    def _write(self, line: bytes) -> None:
        if os.fstat(self._current).st_size >= HALF_BYTES:
            (self._current,) = (one for one in self._descriptors if one != self._current)
            os.ftruncate(self._current, 0)
        data = (b"\n" if self._torn else b"") + line + b"\n"
        self._torn = True
        self._torn = os.write(self._current, data) < len(data)


def _open(state_path: str) -> list[int]:
    directory, opened = Beneath.open_path(state_path), []
    try:
        for name in FILES:
            opened.append(directory.open(name, OPEN_FLAGS))
            if not checked_files.is_private_file(opened[-1]):
                raise checked_files.Untrusted(0, f"{name} is not a file of this user alone")
    except OSError:
        for descriptor in opened:
            os.close(descriptor)
        raise
    finally:
        directory.close()
    return opened

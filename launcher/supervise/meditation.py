"""Guru meditation reports: the master's own, on SIGUSR2, and those of its workers."""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from launcher import paths
from launcher.board import Board
from launcher.errors import LauncherError, WrongNumber

LOG = logging.getLogger(__name__)

STDERR = 2
ANSWER_SECONDS = 10.0  # for a worker to write its report
LOOK_SECONDS = 0.02


class Meditation:
    """One a master."""

    def __init__(
        self, board: Board, binary: str, runtime_path: str, status: Callable[[], dict[str, Any]]
    ) -> None:
        self._board = board
        self._binary = binary
        self._runtime_path = runtime_path
        self._status = status
        self._lock = threading.Lock()  # a worker is asked for one at a time

    def on_signal(self, number: signal.Signals) -> None:
        """In the signal thread: to stderr, by another thread."""
        threading.Thread(target=self._write, name="meditation", daemon=True).start()

    def _write(self) -> None:
        try:
            from launcher import meditation  # noqa: PLC0415  # for who asks for it only

            text = meditation.report(self._binary, {"Board": self._describe})
            data = text.encode("utf-8", "replace") + b"\n"
            while data:
                data = data[os.write(STDERR, data) :]
        except Exception:
            LOG.exception("there is no report")

    def _describe(self) -> str:
        return json.dumps(self._status(), indent=2, ensure_ascii=False)

    def of_worker(self, number: int) -> str:
        """What a worker writes of itself.

        :raises LauncherError: there is no such worker, or it does not answer.
        """
        if not 0 <= number < self._board.workers:
            wanted = f"a slot from 0 to {self._board.workers - 1}"
            raise WrongNumber(what="worker", value=number, wanted=wanted)
        with self._lock:
            return self._ask(number)

    def _ask(self, number: int) -> str:
        slot, path = self._board.slot(number), paths.report_file(self._runtime_path, number)
        path.unlink(missing_ok=True)
        slot.put("reports_wanted", slot.get("reports_wanted") + 1)
        if pid := slot.get("pid"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
        end = time.monotonic() + ANSWER_SECONDS
        while not path.exists():
            if time.monotonic() >= end:
                reason = f"worker {number} has written no report within {ANSWER_SECONDS:g} s"
                raise LauncherError(reason=reason)
            time.sleep(LOOK_SECONDS)
        text = path.read_text(encoding="utf-8")
        path.unlink()
        return text

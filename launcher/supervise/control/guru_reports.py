"""Guru meditation reports: the master's own, on SIGUSR2, and those of its workers."""

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from launcher.board.board import Board
from launcher.directories import paths
from launcher.directories.beneath import Beneath
from launcher.errors import NoReport, WrongNumber
from launcher.foreign_text import fit_json
from launcher.writing.outlet import ERRORS

LOG = logging.getLogger(__name__)

ANSWER_SECONDS = 10.0  # for a worker to write its report
LOOK_SECONDS = 0.02
MOST_BYTES = 64 * 1024 * 1024


class Meditation:
    """One a master."""

    def __init__(
        self, board: Board, binary: str, runtime_path: str, status: Callable[[], dict[str, Any]]
    ) -> None:
        self._board = board
        self._binary = binary
        self._runtime_path = runtime_path
        self._status = status
        self._lock = threading.Lock()
        self._awaited: dict[int, Future[str]] = {}  # by slot; under the lock

    def on_signal(self, number: signal.Signals) -> None:
        """Called in the signal thread: another thread writes the master's report to stderr."""
        threading.Thread(target=self._write, name="meditation", daemon=True).start()

    def _write(self) -> None:
        try:
            from launcher.writing import guru_report  # noqa: PLC0415  # only when it is asked for

            text = guru_report.report(self._binary, {"Board": self._describe})
            for line in text.split("\n"):  # line by line: other threads log meanwhile
                ERRORS.write(f"{line}\n".encode("utf-8", "replace"))
        except Exception:
            LOG.exception("no report could be written")

    def _describe(self) -> str:
        return fit_json(json.dumps(self._status(), indent=2, ensure_ascii=False))

    def of_worker(self, number: int) -> str:
        """Return a worker's report. Requests for a report that is already awaited share it.

        :raises LauncherError: there is no such worker, or it does not answer.
        """
        if not 0 <= number < self._board.workers:
            wanted = f"a slot from 0 to {self._board.workers - 1}"
            raise WrongNumber(what="worker", value=number, wanted=wanted)
        ours = Future[str]()
        with self._lock:
            awaited = self._awaited.setdefault(number, ours)
        if awaited is ours:
            self._fulfil(ours, number)
        return awaited.result()

    def _fulfil(self, ours: Future[str], number: int) -> None:
        try:
            ours.set_result(self._ask(number))
        except Exception as error:  # noqa: BLE001  # `of_worker` raises it
            ours.set_exception(error)
        finally:
            with self._lock:
                del self._awaited[number]

    def _ask(self, number: int) -> str:
        slot, name = self._board.slot(number), paths.report_name(number, self._board.side)
        runtime = Beneath.open_path(self._runtime_path)
        runtime.remove(name)
        slot.put("reports_wanted", slot.get("reports_wanted") + 1)
        if pid := slot.get("pid"):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGUSR1)
        end = time.monotonic() + ANSWER_SECONDS
        while runtime.facts(name) is None:
            if time.monotonic() >= end:
                raise NoReport(number=number, seconds=ANSWER_SECONDS)
            time.sleep(LOOK_SECONDS)
        text = runtime.read(name, MOST_BYTES, frozenset({os.geteuid()}))
        runtime.remove(name)
        return text.decode("utf-8", "replace")

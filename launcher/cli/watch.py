"""`status --watch` on a terminal: the table, each second anew, and keys that do something."""

import os
import select
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from launcher.cli import screen
from launcher.cli.control_client import ANSWER_SECONDS, ControlClient
from launcher.cli.output import output_lost
from launcher.cli.watch_keys import Action, Keys
from launcher.errors import ExitStatus, LauncherError, NotAnswering, NotRunning
from launcher.foreign_text import fit_block

KEY_BYTES = 32
ESCAPE = "\x1b"  # also the beginning of what an arrow key sends

Perform = Callable[[Action], str]


def run(client: ControlClient, perform: Perform) -> int:
    """Show the workers until Ctrl-C; return the exit status.

    :param perform: carries an action out, and returns what is to be said; runs in a thread.
    :raises OutputLost: stdout cannot be written.
    """
    console = screen.make_console()
    try:
        with (
            _keys_one_by_one(sys.stdin.fileno()),
            Live(console=console, screen=True, auto_refresh=False) as live,
        ):
            return Watch(client, perform, live, console).run()
    except KeyboardInterrupt:
        return ExitStatus.STOPPED
    except BrokenPipeError:
        raise
    except OSError as error:
        raise output_lost(error) from error


@contextmanager
def _keys_one_by_one(terminal: int) -> Iterator[None]:
    """Keys come without Enter, and are not echoed. Ctrl-C stays a signal."""
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


class Watch:
    """One a terminal."""

    def __init__(
        self, client: ControlClient, perform: Perform, live: Live, console: Console
    ) -> None:
        self._client = client
        self._perform = perform
        self._live = live
        self._console = console
        self._keys = Keys()
        self._answer: dict[str, Any] | None = None
        self._told = ""  # about the last action; set by its thread
        self._pages: list[str] = []  # a report, shown until a key is pressed
        self._reads = True

    def run(self) -> NoReturn:
        """Draw and read keys. Raises KeyboardInterrupt."""
        due = 0.0
        while True:
            if time.monotonic() >= due:
                table, due = self._look(), time.monotonic() + screen.REFRESH_SECONDS
            self._draw(table)
            for key in self._read(max(0.0, due - time.monotonic())):
                self._press(key)

    def _look(self) -> RenderableType:
        try:
            self._answer = self._client.ask("GET", "/status", timeout=ANSWER_SECONDS)[1]
        except (NotRunning, NotAnswering) as error:
            self._answer = None
            return screen.plain([str(error)])
        return screen.render(self._answer)

    def _draw(self, table: RenderableType) -> None:
        if self._pages:
            lines = self._pages[-1].splitlines()[: self._console.height - 1]
            self._live.update(screen.plain([*lines, "-- any key: back --"]), refresh=True)
            return
        below = [Text(""), *([Text(self._told)] if self._told else []), Text(self._keys.line)]
        self._live.update(Group(table, *below), refresh=True)

    def _read(self, seconds: float) -> list[str]:
        """The keys that come within this time, as soon as there are any."""
        if not self._reads:
            time.sleep(seconds)
            return []
        descriptor = sys.stdin.fileno()
        if not select.select([descriptor], [], [], seconds)[0]:
            return []
        data = os.read(descriptor, KEY_BYTES)
        self._reads = bool(data)  # nothing: the terminal has gone
        text = data.decode("utf-8", "replace")
        return [ESCAPE] if text.startswith(ESCAPE) else list(text)

    def _press(self, key: str) -> None:
        if self._pages:
            self._pages.clear()
            return
        if action := self._keys.press(key, self._answer):
            self._told = "…"
            threading.Thread(target=self._do, args=(action,), daemon=True).start()

    def _do(self, action: Action) -> None:
        """In a thread: a drain may last long, and the table goes on meanwhile."""
        try:
            said = self._perform(action)
        except LauncherError as error:
            self._told = "\n".join(fit_block(str(error)))
            return
        self._told = ""
        if action.name == "report":
            self._pages.append("\n".join(fit_block(said)))
        else:
            self._told = said

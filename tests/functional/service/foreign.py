"""Foreign programs under test: their own configuration, who answers, what is counted."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.processes import Launcher
from tests.support.waiting import wait_until

PROGRAMS = "tests.functional.service.programs"
KINDS = ("oslo_program", "cotyledon_program")
SOON = 30.0

Run = Callable[..., Launcher]
Call = Callable[[str], Any]


class Theirs:
    """The program's own configuration file."""

    def __init__(self, path: Path, **options: object) -> None:
        self.path = path
        self._options = options
        self.set()

    def set(self, **options: object) -> None:
        """Write it anew."""
        self._options |= options
        lines = "\n".join(f"{name} = {value}" for name, value in self._options.items())
        self.path.write_text(f"[DEFAULT]\n{lines}\n")


def program_of(kind: str) -> str:
    """The value of --program for one of the programs beside this file, or any other."""
    return kind if ":" in kind or "-" in kind else f"{PROGRAMS}.{kind}:main"


def answerers(call: Call, number: int) -> set[int]:
    """The pids that answer, when so many do."""
    found: set[int] = set()

    def ask() -> bool:
        found.add(call("tell")[0])
        return len(found) >= number

    wait_until(ask, SOON, f"{number} workers answer")
    return found


def counted(service: Launcher, family: str, label: str) -> dict[str, int]:
    """The samples of a metric, by their label."""
    socket = service.runtime_path / "control.sock"
    answer = service.run_shell(f"curl -sf --unix-socket {socket} http://localhost/metrics")
    head = f'launcher_{family}{{{label}="'
    lines = [line.removeprefix(head) for line in answer.stdout.splitlines() if head in line]
    return {name: int(float(count)) for name, count in (line.split('"} ') for line in lines)}

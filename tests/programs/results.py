"""RESULTS.md: a line for each program."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.programs.environments import Environment
from tests.programs.programs import PROGRAMS, Program

PATH = Path(__file__).with_name("RESULTS.md")
HEAD = """\
# Real programs under the launcher

Written by `make programs`. Each program comes from PyPI into an environment of its own, with
RabbitMQ and PostgreSQL (barbican, octavia: MariaDB). The clients are 4 threads that call without
pause.

- **started**: from exec to READY=1, all workers proven. **proven**: the slowest worker, from the
  launch of its services to the answer to its proof.
- **rolled**: two reloads, one worker restarted, scaled up and down (not for programs that are one
  a host). **kill -9**: one worker is killed; a call that it executes is lost, as the program's
  author knows it. **stopped**: while another instance serves, or (one a host) until it is started
  again. Each with calls, lost calls, slowest answer.

| program | version | workers | started | proven | rolled | kill -9 | stopped | timers |
|---|---|---|---|---|---|---|---|---|
"""
COLUMNS = ("started", "proven", "rolled", "kill -9", "stopped", "timers")


@dataclass
class Results:
    """By program and column."""

    found: dict[str, dict[str, str]] = field(default_factory=dict)

    def note(self, program: Program, column: str, text: str) -> None:
        """One cell."""
        assert column in COLUMNS
        self.found.setdefault(program.name, {})[column] = text

    def write(self) -> None:
        """Programs of which all is known; of the others the lines that are there already stay."""
        old = PATH.read_text().splitlines(keepends=True) if PATH.exists() else []
        lines = {line.split("|")[1].strip(): line for line in old if line.startswith("| ")}
        new = {
            program.name: self._line(program)
            for program in PROGRAMS
            if set(self.found.get(program.name, {})) == set(COLUMNS)
        }
        if new:
            both = lines | new
            PATH.write_text(HEAD + "".join(both.get(program.name, "") for program in PROGRAMS))

    def _line(self, program: Program) -> str:
        version = f"{program.project} {Environment(program.project).version}"
        cells = [self.found[program.name][column] for column in COLUMNS]
        return f"| {' | '.join([program.name, version, str(program.workers), *cells])} |\n"

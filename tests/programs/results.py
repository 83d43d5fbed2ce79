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
        """All programs, or nothing: of a part of the tests no table is made."""
        if all(set(self.found.get(program.name, {})) == set(COLUMNS) for program in PROGRAMS):
            PATH.write_text(HEAD + "".join(self._line(program) for program in PROGRAMS))

    def _line(self, program: Program) -> str:
        version = f"{program.project} {Environment(program.project).version}"
        cells = [self.found[program.name][column] for column in COLUMNS]
        return f"| {' | '.join([program.name, version, str(program.workers), *cells])} |\n"

"""Environments with real programs: `tests/setup/program-environment` makes them."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
ENVIRONMENTS = Path(os.environ.get("PROGRAMS_ROOT", CHECKOUT / ".roots/programs"))
COMMAND_SECONDS = 600.0  # a schema of a hundred revisions, beside other tests


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with a project of OpenStack, and the launcher of this checkout."""

    name: str

    @property
    def path(self) -> Path:
        """Its directory."""
        return ENVIRONMENTS / self.name

    def script(self, name: str) -> Path:
        """A console script in it."""
        return self.path / "bin" / name

    @property
    def exists(self) -> bool:
        """Whether it has been made."""
        return (self.path / "made").exists()

    @property
    def version(self) -> str:
        """Of the project."""
        text = (Path(__file__).parent / "requirements" / f"{self.name}.txt").read_text()
        return next(
            line.partition("==")[2]
            for line in text.splitlines()
            if line.startswith(f"{self.name}==")
        )

    def run(self, script: str, *args: str, env: Mapping[str, str]) -> str:
        """Run a command of the project in its $HOME, since a project that finds no configuration
        makes a database where it is. What it printed. Raises AssertionError if it fails."""
        done = subprocess.run(
            [self.script(script), *args],
            env=dict(env),
            cwd=env["HOME"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        words = " ".join([script, *args])
        assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

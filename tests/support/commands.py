"""The installed scripts: where they are, what environment they get, and how a command ends."""

import os
import re
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPTS = Path(sysconfig.get_path("scripts"))

# What may be set for whoever runs the tests, and is not meant for the programs under test.
FOREIGN = re.compile(
    r"NOTIFY_SOCKET|WATCHDOG_|LISTEN_|JOURNAL_STREAM|INVOCATION_ID|CREDENTIALS_DIRECTORY"
    r"|SYSTEMD_EXEC_PID|NO_COLOR|(STATE|RUNTIME|CONFIGURATION|CACHE|LOGS)_DIRECTORY|XDG_|OS_|MAKE|MFLAGS"
)

Config = Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Completed:
    """How a command ended."""

    status: int
    stdout: str
    stderr: str


def run_script(
    name: str, args: Sequence[str | Path], *, env: Mapping[str, str], deadline: float
) -> Completed:
    """Run an installed script without a terminal; raises TimeoutExpired after `deadline` s."""
    return run([SCRIPTS / name, *args], env=env, deadline=deadline)


def run(command: Sequence[str | Path], *, env: Mapping[str, str], deadline: float) -> Completed:
    """Likewise for any command."""
    done = subprocess.run(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=deadline,
        check=False,
    )
    return Completed(done.returncode, done.stdout, done.stderr)


def environment(home: Path, state_path: Path, runtime_path: Path) -> dict[str, str]:
    """An environment with these directories and the scripts, and nothing of systemd's or XDG's."""
    inherited = {name: value for name, value in os.environ.items() if not FOREIGN.match(name)}
    return inherited | {
        "HOME": str(home),
        "STATE_DIRECTORY": str(state_path),
        "RUNTIME_DIRECTORY": str(runtime_path),
        "PATH": f"{SCRIPTS}:{inherited.get('PATH', os.defpath)}",
    }


def render(config: Config) -> str:
    """The text of a configuration file: options by group; a list makes a line of each item."""
    lines: list[str] = []
    for group, options in config.items():
        lines.append(f"[{group}]")
        for name, value in options.items():
            values = value if isinstance(value, list) else [value]
            lines.extend(f"{name} = {one}" for one in values)
    return "\n".join([*lines, ""])

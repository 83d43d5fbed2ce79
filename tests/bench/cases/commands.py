"""Commands: what each costs by itself. A probe is asked every few seconds, on each host."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping

from tests.bench.cases import Plan
from tests.bench.record import Record, interleave
from tests.bench.systems import BASE, OURS, Running
from tests.support.commands import SCRIPTS

COMMANDS = ("health", "status --json", "scale 2", "--help", "completion bash")
WORKERS = 2
PYTHON = "python"  # which only starts: no command written in it takes less
UNITS = {"cpu": "ms", "peak": "MB"}
# The kernel counts what a process had before exec(2), too: so who forks the command has little
# itself.
SMALL = """
import json, os, sys
pid = os.fork()
if not pid:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(pid, 0)
print(json.dumps([status, 1000 * (used.ru_utime + used.ru_stime), used.ru_maxrss / 1000]))
"""


def commands(plan: Plan) -> Iterator[Record]:
    """Processor time and peak memory. All ask the same service, of ours."""
    names = [*plan.bench.among([OURS, BASE]), PYTHON]
    with plan.bench.system(OURS, WORKERS, "unix") as running:
        for command in COMMANDS:
            found = interleave(
                plan.rounds,
                names,
                lambda name: _cost(plan, running, name, command),  # noqa: B023
            )
            for what, values in found.items():
                yield Record("commands", f"{command}, {what}", UNITS[what], 1, "unix", values)


def _cost(plan: Plan, running: Running, name: str, command: str) -> Mapping[str, float]:
    script = [str(SCRIPTS / "compute-launcher"), *shlex.split(command)]
    words = [sys.executable, "-c", "pass"] if name == PYTHON else script
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", SMALL, *words],
        env=os.environ | running.launcher.environment | plan.bench.environment(name),
        capture_output=True,
        check=True,
    )
    status, cpu, peak = json.loads(done.stdout)
    assert status == 0, (name, command, done.stderr)
    return {"cpu": cpu, "peak": peak}

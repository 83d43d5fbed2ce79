"""A fleet's table on PostgreSQL and MariaDB: the list of services, and reports, beside nova's own
objects, in turn, on the same server. nova has an environment of its own: it pins other versions.
"""

import resource
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tests.bench.cases import Plan
from tests.bench.record import Record, interleave
from tests.bench.systems import CHECKOUT, NOVA, OURS
from tests.support.commands import SCRIPTS, render
from tests.support.databases import SERVERS, Database

HOSTS = 10_000
REPORT_SECONDS = 5
ENVIRONMENT = CHECKOUT / ".venv-nova"
REQUIREMENTS = ("nova==34.0.0", "PyMySQL", "psycopg2-binary")  # 34: 2026.1
UNITS = {
    "list, command": "ms CPU",
    "list, without imports": "ms CPU",
    "reports": "1/s",
    "a report": "ms CPU",
}

PEERS = CHECKOUT / "tests/bench/peers"
Command = Sequence[str | Path]


class Words(NamedTuple):
    """How to run a peer, to which words are added; and the whole command that lists services."""

    peer: Command
    listing: Command


def fleet(plan: Plan) -> Iterator[Record]:
    """N is the number of hosts; `bus` is the database."""
    hosts, nova = plan.n(HOSTS), nova_python()
    for kind, server in SERVERS.items():
        with (
            server() as running,
            running.database() as ours,
            running.database() as theirs,
            tempfile.NamedTemporaryFile("w", suffix=".conf") as config,
        ):
            config.write(render({"database": {"connection": ours.url}}))
            config.flush()
            command = (SCRIPTS / "compute-launcher", "services", "list", "--config-file")
            of_nova = (nova, PEERS / "nova_fleet.py", _for_nova(theirs))
            of_ours = (sys.executable, "-m", "tests.bench.peers.fleet", ours.url)
            words = {
                OURS: Words(of_ours, (*command, config.name)),
                NOVA: Words(of_nova, (*of_nova, "list")),
            }
            for one in words.values():
                _run(*one.peer, "fill", str(hosts))
            found = interleave(plan.rounds, words, partial(_figures, words))
        for what, values in found.items():
            yield Record("fleet", what, UNITS[what], hosts, kind, values)


def nova_python() -> Path:
    """The Python of an environment with nova; installs it if need be."""
    python, done = ENVIRONMENT / "bin/python", ENVIRONMENT / ".installed"
    if not done.exists():
        venv.create(ENVIRONMENT, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        done.touch()
    return python


def _for_nova(database: Database) -> str:
    return database.url.replace("postgresql://", "postgresql+psycopg2://")


def _figures(words: Mapping[str, Words], name: str) -> Mapping[str, float]:
    one = words[name]
    _, command = _run(*one.listing)
    alone, _ = _run(*one.peer, "list")
    reports, _ = _run(*one.peer, "reports", str(REPORT_SECONDS))
    often, each = map(float, reports.split())
    return {
        "list, command": 1000 * command,
        "list, without imports": 1000 * float(alone),
        "reports": often,
        "a report": 1000 * each,
    }


def _run(*command: str | Path) -> tuple[str, float]:
    """Run a command. Return the last line of its stderr, and its seconds of processor time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return done.stderr.rstrip("\n").rpartition("\n")[2], cpu

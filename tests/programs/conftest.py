"""The servers, the deployments, and programs that run."""

import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.functional.conftest import launch, mariadb, notify, postgresql, rabbit, rabbit_node
from tests.programs.deployments import PROJECTS, Deployment
from tests.programs.programs import BY_NAME, PROGRAMS, Program
from tests.programs.results import Results
from tests.support.databases import Server
from tests.support.directories import short_directory
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost

__all__ = ["launch", "mariadb", "notify", "postgresql", "rabbit", "rabbit_node"]

TEST_SECONDS = 1800.0  # a deployment is made within the first test that needs it
START_SECONDS = 300.0
CONFIG: dict[str, dict[str, object]] = {"health": {"probe_interval": 5}}

Deploy = Callable[[str], Deployment]
Start = Callable[..., Launcher]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """They take minutes."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@pytest.fixture(scope="session")
def deploy(postgresql: Server, mariadb: Server) -> Iterator[Deploy]:
    """`deploy("nova")`: each is made when it is first needed."""
    servers = {server.kind: server for server in (postgresql, mariadb)}
    made: dict[str, Deployment] = {}
    with ExitStack() as stack:

        def one(name: str) -> Deployment:
            if name not in made:
                project = PROJECTS[name]
                made[name] = stack.enter_context(project.deployed(servers[project.server]))
            return made[name]

        yield one


@pytest.fixture(params=PROGRAMS, ids=str)
def program(request: pytest.FixtureRequest) -> Program:
    """Each program in turn."""
    found: Program = request.param
    return found


@pytest.fixture
def deployment(program: Program, deploy: Deploy) -> Deployment:
    """Of its project."""
    return deploy(program.project)


@pytest.fixture
def start(deploy: Deploy, rabbit: Vhost) -> Iterator[Start]:
    """`start(program, "--workers=2", notify=…)` runs it under the launcher; what it needs serves
    already. All are killed at the end."""
    with ExitStack() as stack:

        def one(program: Program, *options: str, **settings: Any) -> Launcher:
            if program.needs and (needed := BY_NAME[program.needs]) not in running:
                one(needed, "--workers=1").wait_ready(START_SECONDS)
            running.add(program)
            deployment = deploy(program.project)
            directory = stack.enter_context(short_directory("program-"))
            path = deployment.configure(rabbit.url, directory)
            command = command_of(program, deployment, path, *options)
            settings.setdefault("config", CONFIG)
            env = {"HOME": str(directory)} | settings.pop("env", {})
            return stack.enter_context(Launcher(command=command, env=env, **settings))

        running: set[Program] = set()
        yield one


def command_of(
    program: Program, deployment: Deployment, path: Path, *options: str
) -> tuple[str, ...]:
    """Runs a program under the launcher."""
    launcher = shlex.quote(str(deployment.environment.script("compute-launcher")))
    surge = ["--no-surge"] if program.one_a_host else []
    words = shlex.join([f"--program={program.name}", *options, *surge])
    ours = '--config-file="${RUNTIME_DIRECTORY%/run}/launcher.conf"'
    line = f"exec {launcher} {ours} {words} -- --config-file={path}"
    return ("sh", "-c", line)


@pytest.fixture(scope="session")
def results() -> Iterator[Results]:
    """What is written into RESULTS.md when the session is over."""
    found = Results()
    yield found
    found.write()


def proofs(service: Launcher) -> list[float]:
    """Seconds from the launch of the services to the proof, of each worker so far."""
    return [float(one) for one in re.findall(r"serving, proven ([\d.]+) s after", service.output)]

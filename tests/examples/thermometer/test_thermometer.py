import json
import os
import shutil
import socket
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.examples.conftest import command_of
from tests.support import rabbitmq
from tests.support.commands import Completed, render, run
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

FOLDER = Path(__file__).parent
INSTALLED_DEADLINE = 120.0  # seconds, for pip and a start
DEADLINE = 60.0
WORKERS = 3
QUORUM = {"rabbit_quorum_queue": True, "rabbit_transient_quorum_queue": True}

pytestmark = pytest.mark.timeout(INSTALLED_DEADLINE + 2 * DEADLINE)  # the first one installs


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a new virtual environment that sees what ours has."""
    place = tmp_path_factory.mktemp("venv")
    run([sys.executable, "-m", "venv", "--without-pip", place], env=os.environ, deadline=DEADLINE)
    ours = sysconfig.get_path("purelib")
    (site_packages,) = place.glob("lib/python*/site-packages")
    (site_packages / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    (place / "bin" / "pip").write_text('#!/bin/sh\nexec "${0%/*}/python" -m pip "$@"\n')
    (place / "bin" / "pip").chmod(0o755)
    return place / "bin"


@pytest.fixture(scope="module")
def service(scripts: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Installed and started by the command at the head of the README."""
    folder = tmp_path_factory.mktemp("source") / "thermometer"
    shutil.copytree(FOLDER, folder)  # installing leaves files behind
    env = {"PATH": f"{scripts}:{os.environ['PATH']}", "OS_THERMOMETER__OFFSET": "1000"}
    command = ("sh", "-c", command_of(folder))
    with Launcher(command=command, cwd=folder, env=env) as launcher:
        launcher.wait_ready(INSTALLED_DEADLINE)
        yield launcher


def test_every_worker_gives_the_same_reading(service: Launcher, scripts: Path) -> None:
    def readings() -> list[Any]:
        """One of each, all at once: mostly between two measurements."""
        options = [f"--worker={slot}" for slot in range(WORKERS)]
        with ThreadPoolExecutor() as pool:
            return list(pool.map(partial(ask, service, scripts), options))

    wait_until(lambda: len({str(one) for one in readings()}) == 1, DEADLINE, "all agree")


def test_the_option_is_its_own(service: Launcher, scripts: Path) -> None:
    assert ask(service, scripts)["celsius"] > 1000


def test_the_lead_measures_again_and_again(service: Launcher, scripts: Path) -> None:
    before = ask(service, scripts)
    wait_until(lambda: ask(service, scripts) != before, DEADLINE, "there is another reading")


def test_the_client_is_answered(service: Launcher, tmp_path: Path) -> None:
    """By the commands at the end of the README."""
    lines = (FOLDER / "README.md").read_text().splitlines()[-2:]
    done = service.run_shell("\n".join([f"cd {tmp_path}", *(line.strip() for line in lines)]))
    assert "celsius" in done.stdout, done.stderr


def test_the_client_needs_the_options_of_a_service_on_rabbitmq(
    service: Launcher, scripts: Path, tmp_path: Path
) -> None:
    """With others, it ends in one sentence of its own."""
    if not rabbitmq.installed():
        pytest.skip("rabbitmq-server is not installed; `make test` installs it")
    with rabbitmq.RabbitNode() as node, node.vhost() as vhost:
        config: dict[str, Mapping[str, object]] = {
            "DEFAULT": {"transport_url": vhost.url},
            "oslo_messaging_rabbit": QUORUM,
        }
        good, bad = tmp_path / "good.conf", tmp_path / "bad.conf"
        good.write_text(render(config))
        bad.write_text(render(config | {"oslo_messaging_rabbit": {}}))
        command = (str(scripts / "thermometer-launcher"), f"--config-file={good}", "--workers=1")
        with Launcher(command=command, env={"PATH": service.environment["PATH"]}) as on_rabbit:
            on_rabbit.wait_ready()
            assert "celsius" in client(on_rabbit, scripts, good).stdout
            refused = client(on_rabbit, scripts, bad)
    assert refused.status == 1
    assert "Traceback" not in refused.stderr
    last = refused.stderr.splitlines()[-1]
    assert last.startswith("thermometer.client: ")
    assert "durable" in last


def client(service: Launcher, scripts: Path, file: Path) -> Completed:
    words = [str(scripts / "python"), "-m", "thermometer.client", str(file), socket.gethostname()]
    return run(words, env=service.environment, deadline=DEADLINE)


def ask(service: Launcher, scripts: Path, *options: str) -> Any:
    """The answer to `thermometer-launcher call get_temperature`."""
    words = [str(scripts / "thermometer-launcher"), "call", "get_temperature", *options]
    done = run(words, env=service.environment, deadline=DEADLINE)
    assert done.status == 0, done.stderr
    return json.loads(done.stdout)

"""nova-conductor as a unit of the container's systemd: by our template, and by the drop-in for a
distribution's unit."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.programs.environments import Environment
from tests.support.commands import render
from tests.support.waiting import wait_until
from tests.systemd.broker import URL, broker, start
from tests.systemd.conftest import (
    SOURCE,
    before_install,
    checkout,
    container,
    installed,
    prepared,
)
from tests.systemd.container import Container
from tests.systemd.unit import Unit
from tests.systemd.wheelhouse import pip_environment

__all__ = ["before_install", "broker", "checkout", "container", "installed"]

PLACE = "/opt/nova"  # inside
PYTHON = f"{PLACE}/bin/python"
EXAMPLE = (
    "/usr/local/lib/systemd/system/compute-launcher-program@.service.d/distribution.conf.example"
)
TEMPLATE, DISTRIBUTION = (
    "compute-launcher-program@nova-conductor.service",
    "nova-conductor.service",
)
OURS, STATE = "/etc/nova-conductor-launcher", "/var/lib/nova"
FILE = "/etc/nova/nova.conf"
# As RDO's and Debian's: started by the one who owns the files, with directories of nova's.
OF_A_DISTRIBUTION = f"""
[Service]
Type=simple
ExecStart={PLACE}/bin/nova-conductor --config-file={FILE}
User=nova
RuntimeDirectory=nova
"""
# What compute-launcher(7) says that nova needs.
OF_NOVA = ("User=nova", f"ReadWritePaths={STATE}")
NOVA_CONF = {
    "DEFAULT": {"host": "node-1", "state_path": STATE, "transport_url": URL},
    "database": {"connection": f"sqlite:///{STATE}/nova.sqlite"},
    "api_database": {"connection": f"sqlite:///{STATE}/api.sqlite"},
    "oslo_concurrency": {"lock_path": f"{STATE}/locks"},
    "placement": {"auth_type": "none", "endpoint_override": "http://127.0.0.1:9/placement"},
}
SCHEMA = (
    ("api_db", "sync"),
    ("cell_v2", "map_cell0", f"--database_connection=sqlite:///{STATE}/cell0.sqlite"),
    ("cell_v2", "create_cell", "--name=cell1"),
    ("db", "sync"),
)
# The environment's scripts name the Python that made it, which the unit may not see.
RELOCATE = r"""
cd "$0/bin"
grep -lI '^#!.*/bin/python' * | xargs sed -i "1s|^#!.*/bin/python.*|#!$0/bin/python|"
ln -sf "$1" python
sed -i "s|^home = .*|home = /usr/bin|" ../pyvenv.cfg
"""
CLIENT = f"""
import os, sys, time, oslo_messaging
from oslo_config import cfg
cfg.CONF([], project="client", default_config_files=["{FILE}"])
transport = oslo_messaging.get_rpc_transport(cfg.CONF)
target = oslo_messaging.Target(
    exchange="nova", topic="conductor", namespace="baseapi", version="1.1")
client = oslo_messaging.get_rpc_client(transport, target, timeout=60)
done, end = 0, time.monotonic() + float(sys.argv[1])
while time.monotonic() < end:
    assert client.call({{}}, "ping", arg=str(done)) == {{"service": "conductor", "arg": str(done)}}
    done += 1
    print(done, flush=True)
os._exit(0)
"""
WATCHDOG_SECONDS = 10.0
STEP_SECONDS = 300.0


@pytest.fixture(scope="module")
def nova(installed: Container, broker: Unit) -> Container:
    """The container with nova's environment, its schema and a broker that runs."""
    start(broker)
    copy(Environment("nova").path, installed)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    installed.run("sh", "-ec", RELOCATE, PLACE, f"/usr/bin/python{version}")
    pip = (PYTHON, "-m", "pip", "--disable-pip-version-check", "--quiet")
    install = ("install", "--no-deps", "--no-build-isolation", "--force-reinstall", SOURCE)
    installed.run(*pip, *install, env=pip_environment(), deadline=STEP_SECONDS)
    installed.run("useradd", "--system", "nova")
    installed.put(FILE, render(NOVA_CONF), mode="0640")
    installed.run("chgrp", "-R", "nova", "/etc/nova")
    installed.run("install", "--directory", "--owner=nova", STATE)
    for words in SCHEMA:
        manage = (f"{PLACE}/bin/nova-manage", f"--config-file={FILE}", *words)
        installed.run("runuser", "-u", "nova", "--", *manage, deadline=STEP_SECONDS)
    installed.put(f"{OURS}/arguments", f"ARGUMENTS=--config-file={FILE}\n")
    installed.put(f"{OURS}/nova-conductor-launcher.conf", "[DEFAULT]\nworkers = 2\n")
    installed.put(f"/run/systemd/system/{DISTRIBUTION}", OF_A_DISTRIBUTION)
    installed.run(
        "install", "-D", EXAMPLE, f"/etc/systemd/system/{DISTRIBUTION}.d/10-launcher.conf"
    )
    return installed


def copy(source: Path, container: Container) -> None:
    """A whole directory of this machine's to PLACE."""
    container.run("mkdir", "-p", PLACE)
    with subprocess.Popen(["tar", "-c", "-C", source, "."], stdout=subprocess.PIPE) as tar:
        container.feed(tar.stdout, "tar", "-x", "--no-same-owner", "-C", PLACE)
    assert tar.returncode == 0


@pytest.fixture(params=[TEMPLATE, DISTRIBUTION], ids=["template", "distribution"])
def unit(nova: Container, request: pytest.FixtureRequest) -> Iterator[Unit]:
    """Either way to run it, started."""
    for unit in prepared(nova, request.param, request):
        launcher = f"{PLACE}/bin/compute-launcher --program nova-conductor"
        unit.drop_in(
            f"ExecStart=\nExecStart={launcher} -- $ARGUMENTS",
            f"ExecReload=\nExecReload={launcher} reload --wait",
            f"WatchdogSec={WATCHDOG_SECONDS:g}",
            *(OF_NOVA if unit.name == TEMPLATE else []),
        )
        begin(unit)
        yield unit


def begin(unit: Unit) -> None:
    """Start it, and tell why when it does not."""
    try:
        unit.start(deadline=STEP_SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}{unit.journal()}") from error


def serves(unit: Unit) -> None:
    """All workers."""
    unit.wait_for("^2/2 workers serving$", "StatusText", STEP_SECONDS)


def calling(unit: Unit, seconds: float) -> "subprocess.Popen[str]":
    """A client that calls without pause; it has had an answer."""
    client = unit.container.start(PYTHON, "-Wignore", "-c", CLIENT, str(seconds))
    assert client.stdout is not None
    assert client.stdout.readline() == "1\n"
    return client


def test_a_reload_under_calls(unit: Unit) -> None:
    assert unit.status_text == "2/2 workers serving"
    before = unit.workers()
    client = calling(unit, 20)
    unit.control("reload", deadline=STEP_SECONDS)
    serves(unit)
    assert not set(before) & set(unit.workers())
    output, _ = client.communicate(timeout=STEP_SECONDS)
    assert client.returncode == 0, output


def test_kill_9_and_the_watchdog(unit: Unit) -> None:
    master, victim = unit.main_pid, unit.workers()[1]
    unit.container.run("kill", "-KILL", str(victim))
    wait_until(lambda: victim not in unit.workers(), STEP_SECONDS, "the worker is dead")
    serves(unit)
    assert (unit.main_pid, unit.restarts) == (master, 0)
    unit.container.run("kill", "-STOP", str(master))
    unit.wait_for("^1$", "NRestarts", WATCHDOG_SECONDS + STEP_SECONDS)
    unit.wait_for("^active$", "ActiveState", STEP_SECONDS)
    serves(unit)


def test_a_restart_under_calls(unit: Unit) -> None:
    """A stop waits for the calls in hand; those that come meanwhile wait on the bus."""
    client = calling(unit, 20)
    unit.control("restart", deadline=STEP_SECONDS)
    output, _ = client.communicate(timeout=STEP_SECONDS)
    assert client.returncode == 0, output
    unit.stop()
    assert (unit.state, unit.show("Result")) == ("inactive", "success")

"""A foreign program as a unit: by our template, and by the drop-in for a distribution's unit."""

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.commands import render
from tests.support.waiting import wait_until
from tests.systemd.broker import URL, broker, start
from tests.systemd.conftest import prepared
from tests.systemd.container import Container
from tests.systemd.unit import Unit
from tests.systemd.wheelhouse import CHECKOUT

__all__ = ["broker"]

PYTHON = "/opt/compute-launcher/bin/python"
EXAMPLE = (
    "/usr/local/lib/systemd/system/compute-launcher-program@.service.d/distribution.conf.example"
)
PROGRAMS = "tests/functional/service/programs"
LITTLE, OURS, STATE = "/etc/little/little.conf", "/etc/little-program-launcher", "/run/little"
OF_A_DISTRIBUTION = """
[Service]
ExecStart=/usr/bin/little-program
User=nobody
RuntimeDirectory=little
RuntimeDirectoryPreserve=yes
"""
TEMPLATE, DISTRIBUTION = (
    "compute-launcher-program@little-program.service",
    "little-program.service",
)
PACKAGE = {
    "METADATA": "Metadata-Version: 2.1\nName: little-program\nVersion: 1.0\n",
    "RECORD": "",
    "entry_points.txt": f"[console_scripts]\n"
    f"little-program = {PROGRAMS.replace('/', '.')}.oslo_program:main\n",
}
CLIENT = f"""
import os, oslo_messaging
from oslo_config import cfg
cfg.CONF([], project="little", default_config_files=["{LITTLE}"])
transport = oslo_messaging.get_rpc_transport(cfg.CONF)
target = oslo_messaging.Target(exchange="launcher", topic="compute", server="node-1")
client = oslo_messaging.get_rpc_client(transport, target, timeout=30)
print(client.call({{}}, "work", key="slow", seconds=4), flush=True)
os._exit(0)
"""
WATCHDOG_SECONDS = 4.0
SOON = 30.0

Measure = Callable[[str, object], None]


@pytest.fixture(scope="module")
def packaged(installed: Container, broker: Unit) -> Iterator[Container]:
    """A package with the program is installed beside the launcher; its broker runs."""
    start(broker)
    site = installed.out(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    for file in (CHECKOUT / PROGRAMS).glob("*.py"):
        installed.put(f"{site}/{PROGRAMS}/{file.name}", file.read_text(encoding="utf-8"))
    for name, text in PACKAGE.items():
        installed.put(f"{site}/little_program-1.0.dist-info/{name}", text)
    installed.put(f"{OURS}/arguments", f"ARGUMENTS=--config-file {LITTLE}\n")
    installed.put(f"{OURS}/little-program-launcher.conf", "[DEFAULT]\nworkers = 2\n")
    installed.put(f"/run/systemd/system/{DISTRIBUTION}", OF_A_DISTRIBUTION)
    installed.run("install", "-D", EXAMPLE, f"/etc/systemd/system/{DISTRIBUTION}.d/launcher.conf")
    yield installed
    places = f"{site}/tests {site}/little_program-1.0.dist-info {OURS} /etc/little"
    installed.run("sh", "-c", f"rm -r {places} /etc/systemd/system/{DISTRIBUTION}.d")


@pytest.fixture(params=[TEMPLATE, DISTRIBUTION], ids=["template", "distribution"])
def unit(packaged: Container, request: pytest.FixtureRequest) -> Iterator[Unit]:
    """Either way to run it, started."""
    packaged.run("install", "--directory", "--mode=0777", STATE)
    configure(packaged)
    for unit in prepared(packaged, request.param, request):
        unit.drop_in(f"WatchdogSec={WATCHDOG_SECONDS:g}", f"ReadWritePaths={STATE}")
        unit.start()
        yield unit


def configure(container: Container, **more: object) -> None:
    """Write the program's configuration."""
    options = {"transport_url": URL, "host": "node-1", "state_path": STATE, **more}
    container.put(LITTLE, render({"DEFAULT": options}))


def ask(unit: Unit, *words: str) -> str:
    """A command in a root shell."""
    return unit.container.out("compute-launcher", "--program=little-program", *words)


def serve_again(unit: Unit) -> None:
    """Two other workers than before serve."""
    unit.wait_for("^2/2 workers serving$", "StatusText", SOON)


def working(unit: Unit) -> "subprocess.Popen[str]":
    """A call that a worker executes just now."""
    unit.container.run("rm", "-f", f"{STATE}/ledger")
    client = unit.container.start(PYTHON, "-c", CLIENT)
    ledger = f"grep -c slow {STATE}/ledger"
    wait_until(lambda: unit.container.succeeds("sh", "-c", ledger), SOON, "it is executed")
    return client


def test_start_and_reload(unit: Unit) -> None:
    assert unit.status_text == "2/2 workers serving"
    assert "2/2 workers serving" in ask(unit, "status")
    before = unit.workers()
    unit.control("reload")
    serve_again(unit)
    assert not set(before) & set(unit.workers())


def test_a_configuration_that_the_program_refuses(unit: Unit) -> None:
    before = unit.workers()
    configure(unit.container, fault="raise")
    unit.fails("reload")
    assert (unit.state, unit.workers()) == ("active", before)
    reason = "the table is not there"
    assert any("reload failed" in line and reason in line for line in unit.messages())


def test_kill_9_of_a_worker_is_the_masters_to_repair(unit: Unit) -> None:
    master, victim = unit.main_pid, unit.workers()[1]
    unit.container.run("kill", "-KILL", str(victim))
    wait_until(lambda: victim not in unit.workers(), SOON, "the worker is dead")
    serve_again(unit)
    assert (unit.main_pid, unit.restarts) == (master, 0)


def test_a_master_that_hangs_is_systemds_to_repair(unit: Unit, record_property: Measure) -> None:
    begun = time.monotonic()
    unit.container.run("kill", "-STOP", str(unit.main_pid))
    unit.wait_for("^1$", "NRestarts", WATCHDOG_SECONDS + SOON)
    record_property("stopped master to the restart by systemd", time.monotonic() - begun)
    unit.wait_for("^active$", "ActiveState", SOON)
    serve_again(unit)


def test_a_stop_waits_for_a_call_in_hand(unit: Unit) -> None:
    client = working(unit)
    unit.stop()
    answer, _ = client.communicate(timeout=SOON)
    assert (answer.splitlines()[-1], client.returncode) == ("slow", 0)
    assert (unit.state, unit.show("Result")) == ("inactive", "success")

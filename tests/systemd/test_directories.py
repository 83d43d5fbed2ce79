"""Dynamic users, their directories, and several instances on one host."""

import json
from collections.abc import Generator, Iterator

import pytest

from tests.systemd.asking import COMMAND, ask, ping_all
from tests.systemd.conftest import prepared
from tests.systemd.container import Container
from tests.systemd.unit import Unit

INSTANCES = ("red", "blue")


def test_the_service_is_a_user_of_its_own_and_its_state_outlives_it(unit: Unit) -> None:
    unit.start()
    user = unit.container.out("stat", "--format=%u", f"/proc/{unit.main_pid}")
    assert int(user) >= 61184  # systemd.exec(5): where the dynamic users are
    for directory in ("/var/lib/compute-launcher/", "/run/compute-launcher/"):
        # As the service sees it: outside an id-mapped mount the owner is "nobody".
        place = f"/proc/{unit.main_pid}/root{directory}"
        facts = unit.container.out("stat", "--dereference", "--format=%u %a", place)
        assert facts == f"{user} 700"
    ask(unit, "services", "disable", "--reason", "to be seen later")
    unit.control("restart")
    (row,) = json.loads(ask(unit, "services", "list", "--json"))
    assert (row["status"], row["reason"]) == ("disabled", "to be seen later")


def test_what_root_asks_before_the_first_start_spoils_nothing(unit: Unit) -> None:
    for words in (["services", "list"], ["ping", "--timeout", "1"], ["config", "show"]):
        unit.container.run(COMMAND, *words, check=False)
    unit.start()
    ping_all(unit, 2)
    ask(unit, "services", "list")


def test_a_command_says_when_the_service_is_stopped(unit: Unit) -> None:
    done = unit.container.run(COMMAND, "reload", "--wait", check=False)
    assert done.returncode == 69
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def instances(installed: Container, request: pytest.FixtureRequest) -> Iterator[list[Unit]]:
    """Two of the template, with what their commands need."""
    makers: list[Generator[Unit]] = []
    for name in INSTANCES:
        configuration = installed.out("cat", "/etc/compute-launcher/instance.conf.example")
        host = installed.out("hostname")
        text = configuration.replace("HOST-NAME", f"{host}-{name}").replace("NAME", name)
        installed.put(f"/etc/compute-launcher-{name}/instance.conf", text + "\n")
        makers.append(prepared(installed, f"compute-launcher@{name}.service", request))
    yield [next(maker) for maker in makers]
    for maker in makers:
        maker.close()
        installed.run("rm", "-rf", *(f"/etc/compute-launcher-{name}" for name in INSTANCES))


def test_two_instances_run_side_by_side(unit: Unit, instances: list[Unit]) -> None:
    """Beside the plain service, too."""
    everybody = [unit, *instances]
    for one in everybody:
        one.begin("start")
    for one in everybody:
        one.wait_for("^active$", "ActiveState", 30)
    pids = list(ping_all(unit, 2))
    for name in INSTANCES:
        pids += ping_all(unit, 2, "--config-dir", f"/etc/compute-launcher-{name}")
    assert len(set(pids)) == 6
    instances[0].stop()
    assert set(ping_all(unit, 2, "--config-dir", "/etc/compute-launcher-blue")) <= set(pids)
    instances[1].control("reload")

"""A manager, and a unit, of somebody else's: what README tells its reader to type."""

import json
import re
from collections.abc import Iterator

import pytest

from tests.systemd.asking import COMMAND
from tests.systemd.conftest import INSTALL_SECONDS, SOURCE, prepared
from tests.systemd.container import Container
from tests.systemd.unit import Unit
from tests.systemd.wheelhouse import CHECKOUT, pip_environment

UNIT, SCRIPT = "thermometer.service", "thermometer-launcher"
OURS = "/opt/compute-launcher/bin"
CLEAN = f"""
rm -rf /etc/{SCRIPT} /etc/systemd/system/{UNIT} /usr/local/bin/{SCRIPT}
systemctl daemon-reload
{OURS}/pip uninstall --yes --quiet thermometer
"""


def blocks() -> list[str]:
    """The commands of README's section, in their order, without sudo: we are root."""
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    section = readme.partition("\n## Under systemd\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```(\w*)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    return [text.replace("sudo ", "") for language, text in found if not language]


def block(word: str) -> str:
    """The one in which the word is."""
    (found,) = [one for one in blocks() if word in one]
    return found


def quoted(word: str) -> str:
    """What stands between backquotes in README, with this word in it, without sudo."""
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    (found,) = [one for one in re.findall(r"`([^`\n]+)`", readme) if word in one]
    return str(found).removeprefix("sudo ")


@pytest.fixture
def packaged(installed: Container) -> Iterator[Container]:
    """The package of the example is installed where README says."""
    installed.copy_in([CHECKOUT / "tests" / "examples"], f"{SOURCE}/tests")
    env = {**pip_environment(), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    script = f"cd {SOURCE} && {quoted('bin/pip install')}"
    installed.run("sh", "-ec", script, env=env, deadline=INSTALL_SECONDS)
    yield installed
    installed.run("sh", "-c", CLEAN, check=False)


@pytest.fixture
def own(packaged: Container, request: pytest.FixtureRequest) -> Iterator[Unit]:
    """thermometer.service, made as README says but not yet started."""
    script, started = re.subn("enable --now", "enable", block(UNIT))
    assert started
    packaged.run("sh", "-ec", f"cd {SOURCE} && {script}")
    yield from prepared(packaged, UNIT, request)
    packaged.run("systemctl", "disable", "--quiet", UNIT, check=False)


def measured(container: Container, command: str) -> float:
    """What the thermometer says, right after the start."""
    celsius: float = json.loads(container.out(command, "call", "get_temperature"))["celsius"]
    return celsius


def test_a_manager_is_named_in_the_configuration(unit: Unit, packaged: Container) -> None:
    unit.write_configuration("[DEFAULT]", quoted("manager = "))
    unit.start()
    assert measured(packaged, COMMAND) > -273.15


def test_a_unit_and_a_script_of_ones_own(own: Unit, packaged: Container) -> None:
    own.start()
    assert own.state == "active"
    assert own.status_text == "2/2 workers serving"
    assert measured(packaged, f"/usr/local/bin/{SCRIPT}") > -273.15
    own.control("reload")
    assert SCRIPT in packaged.out(f"/usr/local/bin/{SCRIPT}", "services", "list")
    own.stop()
    assert own.show("Result") == "success"

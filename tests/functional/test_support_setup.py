"""The set-up scripts install what is missing, no more, and say in a sentence what they cannot do.

They meet a machine of fake commands: each writes down how it was called, and acts as told.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).parents[1] / "setup"
TOOLS = ("sh", "env", "mktemp", "cat", "rm", "dirname", "id")


class Machine:
    """A $PATH with nothing on it but the tools of every machine and the fakes that a test adds."""

    def __init__(self, directory: Path) -> None:
        self._bin = directory / "bin"
        self._bin.mkdir()
        self._calls = directory / "calls"
        self._calls.touch()
        for tool in TOOLS:
            genuine = shutil.which(tool)
            assert genuine, f"no {tool} on this machine"
            (self._bin / tool).symlink_to(genuine)

    def add(self, name: str, acts: str = "") -> None:
        """A command that writes down its arguments and then runs `acts`, in shell."""
        script = self._bin / name
        script.unlink(missing_ok=True)
        script.write_text(f'#!/bin/sh\necho "{name} $*" >>{self._calls}\n{acts}\n')
        script.chmod(0o755)

    def installed(self, *packages: str) -> None:
        """Have dpkg know these packages only."""
        known = "|".join(packages) or "none"
        self.add("dpkg-query", f'case "$3" in {known}) echo installed ;; *) exit 1 ;; esac')

    def run(self, script: str, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a set-up script on this machine, with no terminal."""
        return subprocess.run(
            [SETUP / script, *args],
            env={"PATH": str(self._bin)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )

    def calls(self, name: str) -> list[str]:
        """How a fake was called, without its name."""
        lines = self._calls.read_text().splitlines()
        return [line.partition(" ")[2] for line in lines if line.partition(" ")[0] == name]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.add("id", "echo 0")
    made.add("apt-get")
    made.add("service")
    made.add("systemctl")
    return made


def test_a_machine_that_has_everything_is_left_alone(machine: Machine) -> None:
    machine.installed("rabbitmq-server", "systemd-container")
    done = machine.run("debian-packages", "rabbitmq-server", "systemd-container")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.calls("apt-get") == []


def test_only_what_is_missing_is_installed(machine: Machine) -> None:
    machine.installed("rabbitmq-server")
    done = machine.run("debian-packages", "rabbitmq-server", "systemd-container")
    assert done.returncode == 0
    assert machine.calls("apt-get") == [
        "update",
        "--yes --no-install-recommends install systemd-container",
    ]
    assert [*machine.calls("service"), *machine.calls("systemctl")] == []


SERVICES = ("rabbitmq-server", "postgresql", "pgbouncer")


def test_the_services_that_an_installation_starts_are_stopped(machine: Machine) -> None:
    machine.installed()
    assert machine.run("debian-packages", *SERVICES, "mariadb-server-core").returncode == 0
    stops = [*machine.calls("service"), *machine.calls("systemctl")]
    by_systemd = [f"disable --now {name}.service" for name in SERVICES]
    assert stops in ([f"{name} stop" for name in SERVICES], by_systemd)


def test_a_service_that_was_there_before_goes_on(machine: Machine) -> None:
    machine.installed("postgresql")
    assert machine.run("debian-packages", *SERVICES).returncode == 0
    stops = [*machine.calls("service"), *machine.calls("systemctl")]
    assert len(stops) == 2
    assert not [stop for stop in stops if "postgresql" in stop]


def test_sudo_is_used_by_others_than_root_and_asks_nobody_who_is_not_there(
    machine: Machine,
) -> None:
    machine.installed()
    machine.add("id", "echo 1000")
    machine.add("sudo", 'shift; exec env "$@"')
    assert machine.run("debian-packages", "systemd-container").returncode == 0
    assert machine.calls("sudo") == [
        "--non-interactive apt-get update",
        "--non-interactive DEBIAN_FRONTEND=noninteractive"
        " apt-get --yes --no-install-recommends install systemd-container",
    ]
    assert len(machine.calls("apt-get")) == 2


def test_without_a_way_to_root_the_command_for_root_is_named(machine: Machine) -> None:
    machine.installed()
    machine.add("id", "echo 1000")
    done = machine.run("debian-packages", "systemd-container")
    assert (done.returncode, done.stdout) == (1, "")
    assert "neither root nor sudo; have root run: apt-get install systemd-c" in done.stderr


def test_lists_that_cannot_be_updated_do_not_keep_from_installing(machine: Machine) -> None:
    machine.installed()
    machine.add("apt-get", '[ "$1" != update ] || { echo "no route to mirror"; exit 100; }')
    done = machine.run("debian-packages", "systemd-container")
    assert done.returncode == 0
    assert "no route to mirror" in done.stderr


def test_a_failing_installation_shows_what_apt_said_and_fails(machine: Machine) -> None:
    machine.installed()
    machine.add("apt-get", '[ "$1" = update ] || { echo "E: no space"; exit 100; }')
    done = machine.run("debian-packages", "systemd-container")
    assert done.returncode == 1
    assert "E: no space" in done.stderr
    assert "could not install systemd-container" in done.stderr


def test_another_system_is_told_what_it_needs(machine: Machine) -> None:
    done = machine.run("debian-packages", "rabbitmq-server")
    assert done.returncode == 0
    assert "rabbitmq-server" in done.stderr


# Runs the code that it is given, in a real Python that is told to be another.
PYTHON = """\
[ "$1" = -c ] || exit 0
exec {real} -c '
import os, sys
if {has_venv} is False and not os.path.exists(sys.argv[1]):
    sys.modules["ensurepip"] = None
sys.version_info = {version}
exec(sys.argv[2])' "$0.venv" "$2"
"""


def python(version: tuple[int, int] = (3, 11), *, has_venv: bool = True) -> str:
    """A fake interpreter; installing its venv package is what a file beside it stands for."""
    return PYTHON.format(real=sys.executable, version=version, has_venv=has_venv)


def test_the_environment_is_made_with_the_first_python_that_will_do(machine: Machine) -> None:
    machine.add("python3", python((3, 10)))
    machine.add("python3.12", python((3, 12)))
    assert machine.run("virtual-environment", "/tmp/x").returncode == 0
    assert machine.calls("python3.12")[-1] == "-m venv /tmp/x"
    assert not [call for call in machine.calls("python3") if "-m venv" in call]


def test_the_python_that_is_named_is_the_only_one_tried(machine: Machine) -> None:
    machine.add("python3", python())
    machine.add("python3.13", python((3, 13)))
    assert machine.run("virtual-environment", "/tmp/x", "python3.13").returncode == 0
    assert machine.calls("python3") == []
    assert machine.calls("python3.13")[-1] == "-m venv /tmp/x"


@pytest.mark.parametrize("named", ["", "python3.9", "/no/such/python"])
def test_without_a_python_that_will_do_a_sentence_says_so(machine: Machine, named: str) -> None:
    machine.add("python3", python((3, 10)))
    machine.add("python3.9", python((3, 10)))
    done = machine.run("virtual-environment", "/tmp/x", *([named] if named else []))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("no Python of 3.11 or later among: ")
    assert done.stderr.count("\n") == 1


def test_a_python_without_venv_gets_the_package_that_debian_has_it_in(machine: Machine) -> None:
    machine.installed()
    machine.add("python3", python(has_venv=False))
    machine.add("apt-get", '[ "$1" = update ] || : >"$(dirname "$0")/python3.venv"')
    assert machine.run("virtual-environment", "/tmp/x").returncode == 0
    assert machine.calls("apt-get")[-1].endswith("install python3.11-venv")
    assert machine.calls("python3")[-1] == "-m venv /tmp/x"


def test_a_python_that_stays_without_venv_is_named(machine: Machine) -> None:
    machine.installed("python3.11-venv")
    machine.add("python3", python(has_venv=False))
    done = machine.run("virtual-environment", "/tmp/x")
    assert done.returncode == 1
    assert "python3 cannot make virtual environments" in done.stderr

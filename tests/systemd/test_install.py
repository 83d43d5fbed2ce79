"""The install script: once, again, and back."""

import re
from collections.abc import Iterator
from functools import partial

import pytest

from tests.support.waiting import wait_until
from tests.systemd.asking import ask, ping_all
from tests.systemd.conftest import INSTALL_SCRIPT, make, paths
from tests.systemd.container import Container
from tests.systemd.unit import Unit
from tests.systemd.wheelhouse import CHECKOUT

NAME, CONDUCTOR = "compute-launcher", "conductor-launcher"
CONFIGURATION = "/etc/compute-launcher/compute-launcher.conf"
STATE_AND_CONFIGURATION = (
    "/etc/compute-launcher",
    "/etc/conductor-launcher",
    "/var/lib/compute-launcher",
    "/var/lib/private",
)
NO_SYSTEMD = "mount -t tmpfs none /run/systemd"
AS_BEFORE = 'pkill --uid="$0"; userdel "$0"; rm -rf "/var/lib/$0" "/run/$0"'
START_SECONDS = 60.0
OF_SYSTEMD = ("/etc/systemd/system/multi-user.target.wants", "/var/lib/systemd")


@pytest.fixture
def edited(installed: Container) -> Iterator[Container]:
    """An administrator has changed the configuration."""
    original = installed.out("cat", CONFIGURATION)
    installed.put(CONFIGURATION, original + "\nreport_interval = 7\n")
    yield installed
    installed.put(CONFIGURATION, original + "\n")


def test_a_second_install_keeps_configuration_and_service(unit: Unit, edited: Container) -> None:
    unit.start()
    before = edited.out("cat", CONFIGURATION)
    make(edited, "install")
    assert edited.out("cat", CONFIGURATION) == before
    assert unit.state == "active"
    unit.control("restart")
    ping_all(unit, 2)
    assert "report_interval = 7" in ask(unit, "config", "show")


def test_a_configuration_that_leads_commands_elsewhere_is_kept_and_told(edited: Container) -> None:
    """That of the package, when it was removed."""
    edited.put(CONFIGURATION, "[DEFAULT]\n")
    said = make(edited, "install", before="exec 2>&1")
    assert f"{CONFIGURATION} is kept and sets no state_path" in said
    assert f"/etc/{CONDUCTOR}/{CONDUCTOR}.conf is kept" not in said
    assert edited.out("cat", CONFIGURATION) == "[DEFAULT]"


def test_an_install_shows_that_it_works_and_names_a_start_that_is_possible(
    installed: Container,
) -> None:
    """With no systemd to be seen, as in a container."""
    said = make(installed, "install", before=NO_SYSTEMD)
    assert re.search(r"^compute-launcher \d+\.\d+", said, re.M)
    assert f"configuration is valid ({CONFIGURATION})" in said
    assert "systemctl" not in said
    *before, start = said.partition("as a user of its own:\n")[2].splitlines()
    installed.run("sh", "-ec", "\n".join(before))
    service = installed.start(*start.split())
    try:
        answers = partial(installed.succeeds, "compute-launcher", "ping")
        wait_until(answers, START_SECONDS, "it serves")
        (pid,) = installed.out("pgrep", "--uid=compute-launcher", "--oldest").split()
        assert installed.out("stat", "--format=%U", "/var/lib/compute-launcher") == NAME
        installed.run("kill", pid)
        assert service.wait(START_SECONDS) == 0
    finally:
        installed.run("sh", "-c", AS_BEFORE, NAME)


def test_an_uninstall_without_systemd_leaves_no_link_to_a_unit(
    unit: Unit, installed: Container
) -> None:
    installed.run("systemctl", "enable", unit.name)
    make(installed, "uninstall", before=NO_SYSTEMD)
    try:
        assert installed.out("find", "/etc/systemd/system", "-name", "*-launcher*") == ""
    finally:
        make(installed, "install")


def test_uninstall_leaves_nothing_but_state_and_configuration(
    unit: Unit, installed: Container, edited: Container, before_install: set[str]
) -> None:
    """And what is left is picked up again by the next install."""
    installed.run("systemctl", "enable", "--now", unit.name)
    installed.run("systemctl", "start", "compute-launcher@red.service")
    ask(unit, "services", "disable", "--reason", "kept")
    make(installed, "uninstall")
    try:
        assert unit.show("LoadState") == "not-found"
        assert installed.run("pgrep", "-f", "^compute-launcher: ", check=False).stdout == ""
        left = paths(installed) - before_install
        kept = {path for path in left if path.startswith((*STATE_AND_CONFIGURATION, *OF_SYSTEMD))}
        assert left - kept == set()
        ends = (".service", ".sample", ".example", ".1", ".5", ".7")
        assert not {path for path in left if path.endswith(ends)}
        assert {CONFIGURATION, "/var/lib/private/compute-launcher/launcher.sqlite"} <= left
        make(installed, "uninstall")  # again: nothing to do
    finally:
        make(installed, "install")
    unit.start()
    ping_all(unit, 2)
    assert "kept" in ask(unit, "services", "list")


def test_the_man_pages_are_where_man_looks(installed: Container) -> None:
    for page in ("compute-launcher.1", "compute-launcher.conf.5", "compute-launcher.7"):
        place = f"/usr/local/share/man/man{page[-1]}/{page}"
        shipped = (CHECKOUT / "etc" / "man" / page).read_text()
        assert installed.out("cat", place) == shipped.rstrip("\n")
        assert installed.out("stat", "--format=%a %U", place) == "644 root"


def test_install_asks_for_root_and_for_a_python_that_the_unit_can_see(
    installed: Container,
) -> None:
    nobody = ["setpriv", "--reuid=65534", "--clear-groups", INSTALL_SCRIPT, "install"]
    done = installed.run(*nobody, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    installed.run("ln", "-sf", "/usr/bin/python3", "/root/python3")
    for python in ("/nowhere/python3", "/root/python3"):
        done = installed.run(INSTALL_SCRIPT, "install", env={"PYTHON": python}, check=False)
        assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
        assert python in done.stderr

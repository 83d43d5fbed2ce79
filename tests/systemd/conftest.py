"""The container of this session, the service installed in it, and a report of times."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from tests.systemd.container import Container, booted, why_not
from tests.systemd.control_groups import why_no_limits
from tests.systemd.unit import Unit
from tests.systemd.wheelhouse import CHECKOUT, INSIDE, pip_environment, wheelhouse

SOURCE = "/srv/checkout"  # inside
INSTALL_SCRIPT = f"{SOURCE}/systemd/install.sh"
PYTHONPATH = "/srv/managers"  # inside: the test managers
INSTALL_PLACES = ("/opt", "/etc", "/usr/local", "/var/lib")
INSTALL_SECONDS = 300.0  # pip, beside other tests
SCENARIO_SECONDS = 500.0
UNITS = pytest.StashKey[list[Unit]]()


@pytest.fixture(scope="session")
def container() -> Iterator[Container]:
    """Booted once."""
    if reason := why_not():
        miss(reason)
    with booted("launcher-test") as machine:
        yield machine


def miss(reason: str) -> NoReturn:
    """What a scenario needs is not here: a failure in CI, a skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def checkout(container: Container, pytestconfig: pytest.Config) -> Container:
    """The container with the sources and the wheels of what they need."""
    cache = pytestconfig.cache
    assert cache is not None
    names = ["Makefile", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"]
    names += ["launcher", "etc", "systemd"]
    present = [CHECKOUT / name for name in names if (CHECKOUT / name).exists()]
    container.copy_in(present, SOURCE)
    container.copy_in(wheelhouse(cache.mkdir("wheelhouse")).iterdir(), INSIDE)
    here = Path(__file__).parent
    helpers = ["managers.py", "stand_in.py", "killer.py"]
    container.copy_in([here / name for name in helpers], PYTHONPATH)
    return container


@pytest.fixture(scope="session")
def before_install(checkout: Container) -> set[str]:
    """Every path in the places where an install may write."""
    return paths(checkout)


def paths(container: Container) -> set[str]:
    """Every path in the places where an install may write, as they are now."""
    return set(container.out("find", *INSTALL_PLACES, "-xdev").splitlines())


@pytest.fixture(scope="session")
def installed(checkout: Container, before_install: set[str]) -> Container:
    """The container with the service installed, as `make install` does."""
    make(checkout, "install")
    return checkout


def make(container: Container, target: str, *, before: str = ":") -> str:
    """`make install` or `make uninstall`, as root, in the checkout; returns what it says.

    :param before: a command of sh, run first in a mount namespace that the two share.
    """
    words = f"{before} && make --no-print-directory --directory={SOURCE} {target}"
    line = ["unshare", "--mount", "sh", "-c", words]
    return container.run(*line, env=pip_environment(), deadline=INSTALL_SECONDS).stdout.strip()


@pytest.fixture
def unit(installed: Container, request: pytest.FixtureRequest) -> Iterator[Unit]:
    """compute-launcher.service as shipped, with the test managers within its reach."""
    yield from prepared(installed, "compute-launcher.service", request)


def prepared(container: Container, name: str, request: pytest.FixtureRequest) -> Generator[Unit]:
    """A unit that is clean before and after; its journal is shown when the test fails."""
    unit = Unit(container, name)
    request.node.stash.setdefault(UNITS, []).append(unit)
    unit.reset()
    unit.drop_in(f"Environment=PYTHONPATH={PYTHONPATH}")
    unit.configure(workers=2)
    try:
        yield unit
    finally:
        unit.reset()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The first scenario pays for boot and installation, within its own time limit. Limits that
    the kernel cannot enforce here are left out; `test_limits` says why."""
    if why_no_limits():
        left_out = [item for item in items if item.get_closest_marker("limits")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.timeout(SCENARIO_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the journals of its units to a failed test, and take down the time of all."""
    report = yield
    for unit in item.stash.get(UNITS, []):
        if report.when == "call" and report.failed:
            report.sections.append(
                (f"journal of {unit.name}", unit.journal("-o", "short-precise"))
            )
            report.sections.append((f"status of {unit.name}", unit.status()))
    if report.when == "call" and report.passed:
        report.user_properties.append(("scenario", call.duration))
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The measured time of each scenario."""
    passed = terminalreporter.stats.get("passed", [])
    lines = [line for report in passed for line in _measurements(report)]
    if lines:
        terminalreporter.section("measured on systemd")
    for line in lines:
        terminalreporter.line(line)


def _measurements(report: pytest.TestReport) -> Iterator[str]:
    known = dict(report.user_properties)
    if "scenario" in known:
        yield f"{known.pop('scenario'):7.2f} s  {report.nodeid.rpartition('/')[2]}"
        yield from (f"           {value:7.2f} s  {name}" for name, value in known.items())

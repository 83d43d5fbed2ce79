"""The Debian package: installed, upgraded under calls, removed, purged. It is built for the Debian
of this machine, and its container is one of its own."""

import hashlib
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import copyfile, which

import pytest

from tests.support.callers import ANY, Call, Callers
from tests.support.distribution import CHECKOUT, build
from tests.support.traces import DIE_WITH_US
from tests.systemd.conftest import PYTHONPATH, miss
from tests.systemd.container import ROOT, Container, booted, why_not
from tests.systemd.test_own_service import SCRIPT as OWN_SCRIPT
from tests.systemd.test_own_service import UNIT as OWN
from tests.systemd.test_own_service import block, quoted
from tests.systemd.unit import Unit
from tests.systemd.wheelhouse import INSIDE, pip_environment, wheelhouse

SCRIPT = CHECKOUT / "tests" / "setup" / "debian-package"
NAME = "compute-launcher"
UNIT = f"{NAME}.service"
CONFIGURATION = f"/etc/{NAME}/{NAME}.conf"
HERE = "/srv/packages"  # inside
INSTALLED = f"/usr/local/lib/systemd/system/{UNIT}"  # by `make install`
OLD, NEW = f"{HERE}/old.deb", f"{HERE}/new.deb"
PYTHON = f"/usr/lib/{NAME}/bin/python3"
DPKG_SECONDS = 300.0  # 2000 modules are compiled
# What the program, systemd and dpkg write beside the package's own files.
NOT_OURS = re.compile(
    r"/etc/(passwd|group|shadow|gshadow|subuid|subgid)-?$|/etc/\.(pwd|upd)"
    r"|/var/lib/(dpkg|systemd|apt|PackageKit|private$)|/usr/share/mime|/usr/share/man/index"
)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """As `make deb` builds it; once for each state of what is in it."""
    if Path("/") != ROOT or not which("dpkg-buildpackage") or not which("lintian"):
        miss("the package is built for this machine, with debhelper and checked by lintian")
    directory = tmp_path_factory.mktemp("deb")
    made_of = [build(directory).wheel, SCRIPT, CHECKOUT / "constraints.txt"]
    made_of += sorted(file for file in (CHECKOUT / "etc" / "debian").rglob("*") if file.is_file())
    key = hashlib.sha256(b"".join(file.read_bytes() for file in made_of)).hexdigest()[:16]
    cache = pytestconfig.cache
    assert cache is not None
    kept = cache.mkdir("debian-package") / f"{key}.deb"
    if kept.exists():
        return kept
    made = subprocess.run(
        [SCRIPT, directory], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    (found,) = directory.glob("*.deb")
    for other in kept.parent.iterdir():
        other.unlink()
    part = copyfile(found, kept.with_suffix(".part"))  # /tmp may be another file system
    return part.rename(kept)


@pytest.fixture(scope="module")
def old_package(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, as version 0.1.9."""
    tree = tmp_path_factory.mktemp("old") / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    (module,) = tree.glob("usr/lib/*/lib/python3*/site-packages/launcher/__init__.py")
    for file, pattern in ((tree / "DEBIAN/control", "^Version: .*"), (module, "__version__ = .*")):
        field = "Version: 0.1.9-1" if file.name == "control" else '__version__ = "0.1.9"'
        file.write_text(re.sub(pattern, field, file.read_text(), flags=re.M))
    made = tree.with_name("old.deb")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "--build", tree, made], check=True
    )
    return made


@pytest.fixture(scope="module")
def machine(package: Path, old_package: Path) -> Iterator[Container]:
    """With both packages, and clients."""
    if reason := why_not():
        miss(reason)
    with booted("launcher-deb") as container:
        container.run("mkdir", HERE)
        for source, place in ((package, NEW), (old_package, OLD)):
            with source.open("rb") as file:
                container.feed(file, "sh", "-c", f"cat >{place}")
        container.run("rm", "-f", "/usr/sbin/policy-rc.d")  # of images: no package starts a unit
        container.copy_in([CHECKOUT / "tests"], "/srv/checkout")
        container.copy_in([CHECKOUT / "tests" / "systemd" / "managers.py"], PYTHONPATH)
        yield container


@pytest.fixture
def unit(machine: Container) -> Iterator[Unit]:
    """The unit of the old package, with the test managers; afterwards the package is purged."""
    apt(machine, "install", OLD)
    unit = Unit(machine, UNIT)
    unit.drop_in(f"Environment=PYTHONPATH={PYTHONPATH}", "Environment=OS_DEFAULT__WORKERS=2")
    unit.drop_in("Environment=OS_DEFAULT__MANAGER=managers:Plain")
    yield unit
    apt(machine, "purge", NAME)
    unit.reset()
    machine.run("userdel", NAME)  # the next one is a first install
    machine.run("userdel", "conductor-launcher")


def apt(container: Container, verb: str, *words: str) -> str:
    """As an administrator does it, without questions; what it says."""
    env = {"DEBIAN_FRONTEND": "noninteractive"}
    line = ["apt-get", "--yes", "--no-install-recommends", "--allow-downgrades", verb, *words]
    done = container.run(*line, env=env, deadline=DPKG_SECONDS)
    return done.stdout + done.stderr


def test_lintian_finds_no_error(package: Path) -> None:
    words: list[str | Path] = [
        "lintian",
        "--allow-root",
        "--fail-on=error",
        "--tag-display-limit=0",
        package,
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_upgrade_under_calls_loses_none(
    unit: Unit, record_property: Callable[[str, object], None]
) -> None:
    """And asks nothing: the administrator's configuration and the state are kept."""
    machine = unit.container
    unit.start()
    machine.run("sh", "-c", f"printf 'report_interval = 7\\n' >>{CONFIGURATION}")
    machine.out(NAME, "services", "disable", "--reason", "kept")
    before = unit.main_pid
    machine.run("cp", "-a", f"/usr/lib/{NAME}", "/opt/client")  # is not replaced
    interpreter = machine.words(
        *("env", "--chdir=/srv/checkout", *DIE_WITH_US, f"--reuid={NAME}", f"--regid={NAME}"),
        *("--clear-groups", "/opt/client/bin/python3"),
    )
    call = Call("nap", arguments={"seconds": 0.2}, answer=ANY)
    bus = f"unix:///run/{NAME}/bus"
    with Callers(bus, calls=[call], threads=3, timeout=120, interpreter=interpreter) as callers:
        said = apt(machine, "install", NEW)
        unit.wait_for("active", "ActiveState", 60)
        tally = callers.end()

    assert "conffile" not in said.lower()
    assert unit.main_pid not in (0, before)
    assert not machine.out(NAME, "--version").endswith("0.1.9")
    assert "report_interval = 7" in machine.out(NAME, "config", "show")
    assert "kept" in machine.out(NAME, "services", "list")
    assert (tally.failed, tally.wrong) == ({}, {})
    assert len(tally.answered) > 10
    record_property("slowest call", max(tally.answered.values()))
    assert unit.state == "active"


def test_nothing_is_started_or_enabled_by_an_install(unit: Unit) -> None:
    assert (unit.state, unit.show("UnitFileState")) == ("inactive", "disabled")
    owner = unit.container.out("stat", "--format=%U %a", f"/var/lib/{NAME}")
    assert owner == f"{NAME} 700"
    unit.container.run(NAME, "db", "upgrade")
    assert "schema" in unit.container.out(NAME, "db", "check")
    assert "valid" in unit.container.out(NAME, "config", "check")


def test_the_parts_are_where_debian_looks_for_them(unit: Unit) -> None:
    files = unit.container.out("dpkg", "--listfiles", NAME).splitlines()
    for file in (
        f"/usr/bin/{NAME}",
        "/usr/bin/conductor-launcher",
        f"/usr/share/man/man1/{NAME}.1.gz",
        f"/usr/share/bash-completion/completions/{NAME}",
        f"/usr/share/zsh/vendor-completions/_{NAME}",
        f"/usr/share/{NAME}/{NAME}-dist.conf",
        f"/usr/share/{NAME}/{NAME}.conf.sample",
        f"/usr/lib/sysusers.d/{NAME}.conf",
        f"/usr/lib/tmpfiles.d/{NAME}.conf",
    ):
        assert file in files, file
    conffiles = unit.container.out("dpkg-query", "--show", "--showformat=${Conffiles}", NAME)
    assert [line.split()[0] for line in conffiles.splitlines() if line] == [
        CONFIGURATION,
        "/etc/conductor-launcher/conductor-launcher.conf",
    ]
    units = ("compute-launcher@x", "conductor-launcher", "compute-launcher-program@x", NAME)
    for name in units:
        shown = unit.container.out("systemctl", "cat", f"{name}.service")
        assert "\nExecStart=/usr/bin/" in shown
        assert "/opt/" not in shown
    said = unit.container.run("systemd-analyze", "verify", UNIT, check=False)
    assert NAME not in said.stderr


def test_a_service_of_ones_own_goes_beside_it(
    machine: Container, pytestconfig: pytest.Config
) -> None:
    """As README says; and purge takes it away."""
    before = paths(machine)
    apt(machine, "install", NEW)
    cache = pytestconfig.cache
    assert cache is not None
    machine.copy_in(wheelhouse(cache.mkdir("wheelhouse")).iterdir(), INSIDE)
    path = f"tests/examples/thermometer/{OWN}"
    commands = f"{quoted('bin/pip install')}\n{block(OWN)}".replace("/opt/", "/usr/lib/")
    script = f"cd /srv/checkout\nsed -i 's|/opt/|/usr/lib/|' {path}\n{commands}"
    machine.run("sh", "-ec", script, env=pip_environment(), deadline=DPKG_SECONDS)
    assert "celsius" in machine.out(OWN_SCRIPT, "call", "get_temperature")

    machine.run("systemctl", "disable", "--now", OWN)
    machine.run(
        "rm",
        "-r",
        f"/etc/systemd/system/{OWN}",
        f"/etc/{OWN_SCRIPT}",
        f"/usr/local/bin/{OWN_SCRIPT}",
    )
    apt(machine, "purge", NAME)

    assert {path for path in paths(machine) - before if path.startswith("/usr")} == set()


def test_remove_leaves_configuration_and_state_and_purge_nothing(machine: Container) -> None:
    before = paths(machine)
    apt(machine, "install", NEW)
    unit = Unit(machine, UNIT)
    unit.control("enable")
    unit.start()
    machine.run("systemctl", "start", "compute-launcher@red.service")

    apt(machine, "remove", NAME)

    assert unit.processes() == []
    assert not machine.succeeds("pgrep", "-f", "^compute-launcher: ")
    left = paths(machine) - before
    assert {CONFIGURATION, f"/var/lib/{NAME}/launcher.sqlite"} <= left
    assert not {path for path in left if path.startswith("/usr")}

    apt(machine, "purge", NAME)

    assert paths(machine) - before == set()


def test_a_unit_that_systemd_refuses_keeps_no_package_and_purge_not_what_make_install_runs(
    machine: Container,
) -> None:
    apt(machine, "install", NEW)
    conductor = Unit(machine, "conductor-launcher.service")
    conductor.drop_in("ExecStart=/bin/true", "ExecStart=/bin/true")
    unit = Unit(machine, UNIT)
    unit.control("enable")
    unit.start()
    before = unit.main_pid
    assert not machine.succeeds("systemctl", "stop", conductor.name)

    apt(machine, "install", "--reinstall", NEW)

    assert unit.main_pid != before

    apt(machine, "remove", NAME)

    assert unit.processes() == []
    machine.run("mkdir", "-p", Path(INSTALLED).parent)
    machine.run("touch", INSTALLED)
    said = apt(machine, "purge", NAME)
    assert "is left to the service of 'make install'" in said
    assert machine.succeeds("test", "-e", f"/var/lib/{NAME}/launcher.sqlite")

    machine.run("rm", INSTALLED)
    conductor.reset()
    apt(machine, "install", NEW)
    apt(machine, "purge", NAME)
    assert not machine.succeeds("test", "-e", f"/var/lib/{NAME}")


def paths(container: Container) -> set[str]:
    """Every path where a package may write, but for what systemd and dpkg keep themselves."""
    found = container.out("find", "/etc", "/usr", "/opt", "/var/lib", "-xdev").splitlines()
    return {path for path in found if not NOT_OURS.search(path)}

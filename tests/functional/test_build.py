"""`make dist`: what the built files hold, that they work without the checkout, and that they are
the same each time."""

import hashlib
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from shutil import which

import pytest

from launcher.supervise.processes.shared_heap import why_not
from tests.functional.conftest import Launch
from tests.support.distribution import CHECKOUT, Distribution, build, make_environment

MODULE = "launcher/supervise/processes/_immortal."
SCRIPTS = ("compute-launcher", "conductor-launcher")
PAGES = ("man1/compute-launcher.1", "man5/compute-launcher.conf.5", "man7/compute-launcher.7")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, distribution: Distribution) -> Path:
    """A virtual environment with the wheel."""
    prefix = tmp_path_factory.mktemp("clean") / "venv"
    make_environment(prefix, distribution.wheel)
    return prefix


def test_two_builds_are_the_same(distribution: Distribution, tmp_path: Path) -> None:
    """Whoever builds, and wherever: in another directory, by another umask, in another zone."""
    temporary = tmp_path / "elsewhere"
    temporary.mkdir()
    again = build(tmp_path, umask=0o077, TMPDIR=str(temporary), TZ="Asia/Tokyo", LC_ALL="C")
    for one, other in ((distribution.sdist, again.sdist), (distribution.wheel, again.wheel)):
        assert one.name == other.name
        assert _checksum(one) == _checksum(other), one.name


@pytest.mark.parametrize("compiler", ["", "/nowhere/cc"])
def test_a_wheel_has_the_module_in_c_if_it_can(
    distribution: Distribution, tmp_path: Path, compiler: str
) -> None:
    """It is built on every machine, and has that module where there is a compiler for it. Who has
    none is told: pip takes the one wheel like the other."""
    made = build(tmp_path, CC=compiler) if compiler else distribution
    with zipfile.ZipFile(made.wheel) as file:
        built = [name for name in file.namelist() if name.startswith(MODULE) and "so" in name]
    assert bool(built) == (not why_not() and not compiler)
    assert built or "without the module in C" in made.said
    assert bool(built) == (not made.said), made.said  # else nothing is said
    assert not built or f"cpython-{sys.version_info[0]}{sys.version_info[1]}" in built[0]


def test_the_metadata_of_both_files_offer_the_databases_as_extras(
    distribution: Distribution,
) -> None:
    with zipfile.ZipFile(distribution.wheel) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
        text = wheel.read(name).decode()
    with tarfile.open(distribution.sdist) as sdist:
        found = sdist.extractfile(f"{distribution.sdist.name.removesuffix('.tar.gz')}/PKG-INFO")
        assert found is not None
        assert found.read().decode() == text
    metadata = Parser().parsestr(text)
    assert {"postgresql", "mysql"} <= set(metadata.get_all("Provides-Extra", []))
    needs = metadata.get_all("Requires-Dist", [])
    for extra, driver in (("postgresql", "psycopg[binary]>="), ("mysql", "PyMySQL>=")):
        named = [need for need in needs if need.endswith(f'; extra == "{extra}"')]
        assert [need.startswith(driver) for need in named] == [True], needs
    assert any(need.startswith("oslo.messaging") and "extra" not in need for need in needs)


def test_the_service_runs_without_the_checkout(
    environment: Path, launch: Launch, tmp_path: Path
) -> None:
    where = "import launcher; print(launcher.__file__)"
    found = _output(environment / "bin" / "python", "-c", where, cwd=tmp_path)
    assert found.startswith(str(environment))
    script = str(environment / "bin" / "compute-launcher")
    service = launch(command=(script, "--workers", "1"), cwd=tmp_path)
    service.wait_ready()
    assert service.run_shell(f"{script} ping").status == 0
    service.signal(signal.SIGTERM)
    assert service.wait() == 0


def test_units_manual_sample_and_completion_are_below_the_prefix(environment: Path) -> None:
    share = environment / "share"
    ours = share / "compute-launcher"
    for copy, original in [
        *((share / "man" / page, f"etc/man/{Path(page).name}") for page in PAGES),
        (ours / "compute-launcher.conf.sample", "etc/compute-launcher.conf.sample"),
        (ours / "prometheus" / "alerts.yaml", "etc/prometheus/alerts.yaml"),
    ]:
        assert copy.read_bytes() == (CHECKOUT / original).read_bytes()
    units = {path.relative_to(CHECKOUT) for path in (CHECKOUT / "systemd").rglob("*.*")}
    shipped = {path.relative_to(ours) for path in (ours / "systemd").rglob("*.*")}
    assert units - shipped == {Path("systemd/install.sh")}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_completion_asks_the_installed_program(environment: Path, name: str) -> None:
    completions = environment / "share" / "bash-completion" / "completions"
    words = f"source {completions / name} && complete -p {name}"
    assert f"_shtab_{name.replace('-', '_')}" in _output("bash", "-c", words, path=environment)
    if which("zsh"):
        functions = environment / "share" / "zsh" / "site-functions"
        words = (
            f"fpath=({functions} $fpath); autoload -U compinit; compinit -D; print $_comps[{name}]"
        )
        assert _output("zsh", "-fc", words, path=environment) == f"_{name}\n"


def _checksum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _output(*command: str | Path, cwd: Path | None = None, path: Path | None = None) -> str:
    """What it prints; it has to succeed. `path`: an environment whose programs are found first."""
    env = os.environ | ({"PATH": f"{path / 'bin'}:{os.environ['PATH']}"} if path else {})
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout

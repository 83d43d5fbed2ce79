"""Upgrade, as an operator does it: another version is installed over the one that runs."""

import json
import subprocess
from pathlib import Path

import pytest

import launcher
from tests.functional.service.conftest import CHECKOUT, Start
from tests.functional.service.faults import with_options
from tests.support.callers import Callers, Ledger
from tests.support.distribution import (
    Distribution,
    build_wheel,
    install,
    make_environment,
)

NEXT = "9.9.9"
MANAGER = """
from tests.functional.service.managers import Working
try:
    from launcher.news import News
except ImportError:
    class News:
        pass

class Versioned(News, Working):
    pass
"""
NEWS = """
from launcher import __version__
from launcher.serve.manager import expose

class News:
    @expose
    def news(self, context):
        return __version__
"""

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def next_wheel(tmp_path_factory: pytest.TempPathFactory, distribution: Distribution) -> Path:
    """Of another version: with one more method, and another layout of the board."""
    directory = tmp_path_factory.mktemp("next")
    subprocess.run(["tar", "--extract", "--file", distribution.sdist], cwd=directory, check=True)
    (sources,) = directory.iterdir()
    ours = f'"{launcher.__version__}"'
    replace(sources / "pyproject.toml", f"\nversion = {ours}", f'\nversion = "{NEXT}"')
    replace(sources / "launcher" / "__init__.py", ours, f'"{NEXT}"')
    replace(sources / "launcher" / "board" / "board.py", '*("stopping"', '*("novelty", "stopping"')
    (sources / "launcher" / "news.py").write_text(NEWS)
    return build_wheel(sources, directory / "dist")


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_wheel_is_installed_over_the_one_that_runs_and_back(
    start: Start,
    transport: str | None,
    tmp_path: Path,
    distribution: Distribution,
    next_wheel: Path,
) -> None:
    prefix = tmp_path / "venv"
    site = make_environment(prefix, distribution.wheel)
    with (site / "libraries.pth").open("a") as file:
        file.write(f"{CHECKOUT}\n")  # for the manager; the wheel is found before it
    (tmp_path / "versioned.py").write_text(MANAGER)
    script = prefix / "bin" / "compute-launcher"
    service = start(
        "",
        config=with_options(DEFAULT={"manager": "versioned:Versioned", "host": "node-1"}),
        env={"PYTHONPATH": str(tmp_path)},
        command=(str(script), "--config-file=launcher.conf", "--workers=2"),
    )
    service.wait_ready()
    ledger = Ledger(service.state_path)
    url = transport or f"unix://{service.runtime_path}/bus"
    with Callers(url, "node-1", ("work", "once")) as callers:
        ledger.wait_for(20)
        for wheel, version in (
            (next_wheel, NEXT),
            (distribution.wheel, launcher.__version__),
        ):
            install(prefix, wheel)
            since = len(service.output)
            answer = service.run_shell(f"{script} upgrade --config-file={service.config_file}")
            assert answer.stdout.startswith(f"upgraded: version {version}, pid "), answer.stderr
            service.wait_for_line("has drained", since=since)
            news = service.run_command("call", "news", "--host=node-1", "--timeout=5")
            assert (news.status == 0) == (version == NEXT), news.stderr
            assert version != NEXT or json.loads(news.stdout) == NEXT
            ledger.wait_for(len(ledger.executions()) + 20)
        tally = callers.end()
    assert not tally.failed
    assert max(ledger.executions().values()) == 1

"""A manager in the current directory: found by whoever tries it out, and trusted no further."""

import os
from pathlib import Path

import pytest

from tests.functional.conftest import Launch
from tests.support.directories import short_directory
from tests.support.users import ALICE, needs_root

THERMOMETER = """
from launcher.serve.manager import Manager, expose
class Thermometer(Manager):
    @expose
    def get_temperature(self, context):
        return 20.0
"""
MANAGER = "--manager=thermo:Thermometer"


def test_a_manager_beside_whoever_starts_it_is_found(launch: Launch) -> None:
    with short_directory() as here:
        (here / "thermo.py").write_text(THERMOMETER)
        service = launch("--workers=1", MANAGER, cwd=here)
        service.wait_ready()

        assert service.run_command("call", "get_temperature").stdout == "20.0\n"


@needs_root
@pytest.mark.parametrize("command", [(), ("config", "check")])
def test_root_runs_nothing_of_a_directory_of_another_user(
    launch: Launch, command: tuple[str, ...]
) -> None:
    with short_directory() as here:
        written = Path(here, "imported")
        (here / "thermo.py").write_text(f"open({str(written)!r}, 'w')\n{THERMOMETER}")
        here.chmod(0o755)
        for path in (here / "thermo.py", here):
            os.chown(path, ALICE, ALICE)
        service = launch(MANAGER, *command, cwd=here)

        assert service.wait() == 78
        assert f"it belongs to uid {ALICE}" in service.output
        assert "No module named 'thermo'" in service.output
        assert not written.exists()

"""By which name a program is known: in its command line, in queues, in its log."""

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg
from oslo_log import handlers, log

from launcher.program import seam
from launcher.program.main_function import run_main
from launcher.program.recording import Recording
from tests.unit.test_program import imported

IMPORTING = """
import sys
file = sys.argv[1]
sys.argv = ["/usr/bin/compute-launcher", "--program", "json:dumps"]
from launcher.program.finding import find
from launcher.program.importing import import_program
import_program(find("json:dumps"), [])
from launcher.program import seam
from oslo_config import cfg
from oslo_messaging._drivers import impl_rabbit

def named(*arguments):
    conf = cfg.ConfigOpts()
    conf.register_opts(impl_rabbit.rabbit_opts, "oslo_messaging_rabbit")
    conf(list(arguments), default_config_files=[])
    return conf.oslo_messaging_rabbit.processname

print(sys.argv[0], named())
seam.name_queues("json-1")
print(named(), named("--config-file=" + file))
"""


def test_queues_are_named_after_the_program_and_not_after_the_launcher(tmp_path: Path) -> None:
    """The driver takes the name from the command line when it is imported. An operator's own
    name stays."""
    path = tmp_path / "own.conf"
    path.write_text("[oslo_messaging_rabbit]\nprocessname = mine\n")
    start = [sys.executable, "-c", IMPORTING, str(path)]
    done = subprocess.run(start, capture_output=True, text=True, check=True, timeout=60)
    first, second = done.stdout.splitlines()
    assert first == "/usr/bin/compute-launcher json:dumps"
    assert second == "json-1 mine"


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a worker changes for good is put back, as are the handlers of the root logger."""
    monkeypatch.setattr(sys, "argv", ["compute-launcher"])
    monkeypatch.setattr(handlers, "_get_binary_name", handlers._get_binary_name)
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(before):
        handler.close()
    root.handlers[:] = before
    root.setLevel(level)


def launch() -> None:
    import cotyledon  # noqa: PLC0415  # as a program may do it: in main()

    manager = cotyledon.ServiceManager()
    manager.add(cotyledon.Service)
    manager.run()


@pytest.mark.usefixtures("process")
def test_a_worker_has_the_programs_command_line_for_good() -> None:
    """Services start after main(), and connections to RabbitMQ take their name from it."""
    run_main(imported(launch, Recording("x")))
    assert sys.argv == ["x", "--theirs"]


@pytest.mark.usefixtures("process")
def test_a_log_without_a_name_of_its_own_has_that_of_the_script(tmp_path: Path) -> None:
    """oslo.log looks at the outermost frame, which in main() is that of a thread."""

    def main() -> None:
        conf = cfg.ConfigOpts()
        log.register_options(conf)
        conf([f"--log-dir={tmp_path}"], project="x", default_config_files=[])
        log.setup(conf, "x")
        launch()

    run_main(imported(main, Recording("x")))
    assert [path.name for path in tmp_path.iterdir()] == ["x.log"]


def test_the_names_are_looked_for_at_the_start() -> None:
    found = {f"{name.module}.{name.path}" for name in seam.NAMES}
    assert "oslo_log.handlers._get_binary_name" in found
    assert "oslo_messaging._drivers.impl_rabbit.rabbit_opts" in found

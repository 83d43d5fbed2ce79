"""By which name a program is known: in its command line, in queues, in its log."""

import subprocess
import sys
from pathlib import Path

from launcher.program import seam

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


def test_the_names_are_looked_for_at_the_start() -> None:
    found = {f"{name.module}.{name.path}" for name in seam.NAMES}
    assert "oslo_messaging._drivers.impl_rabbit.rabbit_opts" in found

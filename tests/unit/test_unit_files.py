"""What the units have a shell do; how systemd takes them is tested in tests/systemd."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
NAME = r"compute-launcher@a\x2db.service"  # as systemd-escape writes a-b


PROGRAM = "compute-launcher-program@.service"
SHIPPED = (
    "compute-launcher.service",
    "compute-launcher@.service",
    "conductor-launcher.service",
    PROGRAM,
)


@pytest.mark.parametrize("unit", SHIPPED)
def test_a_name_that_is_escaped_is_forgotten_under_that_name(unit: str, tmp_path: Path) -> None:
    """Else restarts by hand would add up to the limit of starts."""
    (line,) = [
        line.partition("=")[2]
        for line in (UNITS / unit).read_text(encoding="utf-8").splitlines()
        if line.startswith("ExecStopPost=")
    ]
    words = [word.replace("%n", NAME).replace("$$", "$") for word in shlex.split(line)]
    fake = tmp_path / "systemctl"
    fake.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n", encoding="utf-8")
    fake.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    ended_well = {"PATH": path, "SERVICE_RESULT": "success", "EXIT_STATUS": "0"}

    words[0] = words[0].lstrip("-+")
    done = subprocess.run(words, env=ended_well, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == ["reset-failed", NAME]


def test_the_conductors_unit_is_that_of_compute_launcher_with_its_names() -> None:
    """All but comments: mend it by the same change as the other one."""
    compute, conductor = (directives(UNITS / name) for name in SHIPPED[:3:2])
    compute.remove("After=conductor-launcher.service")
    renamed = [
        re.sub("(?<!/opt/)compute-launcher", "conductor-launcher", line).replace(
            "Description=Compute", "Description=Conductor"
        )
        for line in compute
    ]
    assert conductor == renamed


def test_the_unit_for_programs_differs_where_a_program_does() -> None:
    ours, programs = (set(directives(UNITS / name)) for name in SHIPPED[1::2])
    names = {line.partition("=")[0] for line in ours ^ programs}
    assert names == {
        "Description",
        "After",
        "Environment",
        "EnvironmentFile",
        "ExecStart",
        "ExecReload",
        "StateDirectory",
        "RuntimeDirectory",
        "RuntimeDirectoryPreserve",  # calls do not wait in a bus of ours
        "ConfigurationDirectory",
        "RestrictAddressFamilies",  # openstacksdk asks for the addresses of the host
    }
    (families,) = (line for line in programs if line.startswith("RestrictAddressFamilies="))
    assert families.removesuffix(" AF_NETLINK") in ours


def test_the_drop_in_for_a_distributions_unit_is_that_for_programs() -> None:
    """But for what the distribution has decided: user, order of boot, isolation."""
    example = UNITS / f"{PROGRAM}.d/distribution.conf.example"
    added = [line for line in directives(example) if line not in {"ExecStart=", "ExecReload="}]
    assert {line.replace("%p", "%i") for line in added} <= set(directives(UNITS / PROGRAM))


def directives(unit: Path) -> list[str]:
    lines = unit.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]

"""The container itself: what it leaves behind is nothing."""

import os
from pathlib import Path

import pytest

from tests.systemd.conftest import miss
from tests.systemd.container import booted, why_not
from tests.systemd.control_groups import CGROUPS

NAME = f"launcher-test-of-its-own-{os.getpid()}"


@pytest.fixture(autouse=True)
def needs() -> None:
    if reason := why_not():
        miss(reason)


def test_a_container_leaves_no_process_mount_or_group() -> None:
    with booted(NAME) as container:
        leader = Path("/proc", str(container.leader))
        container.put("/etc/only-inside", "")
        assert groups()
    assert not leader.exists()
    assert not Path("/etc/only-inside").exists()
    assert groups() == []
    assert NAME not in Path("/proc/self/mountinfo").read_text()


def test_a_boot_that_fails_shows_its_console_and_leaves_nothing() -> None:
    name = f"{NAME}@"
    with pytest.raises(AssertionError, match=r"the console:\n.*[Ii]nvalid machine name"):
        booted(name).__enter__()
    assert groups() == []


def groups() -> list[Path]:
    """Control groups of this module's containers, in any hierarchy."""
    return [path for place in ("", "*/") for path in CGROUPS.glob(f"{place}{NAME}*")]

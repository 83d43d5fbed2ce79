"""The traces that the managers beside this file leave, and the files that they wait for."""

from collections import Counter

from tests.support.growing import whole_lines
from tests.support.processes import Launcher


def trace(service: Launcher) -> Counter[str]:
    """How often each event was noted."""
    return Counter(line.split()[0] for line in whole_lines(service.state_path / "trace"))


def sweepers(service: Launcher) -> list[int]:
    """Who ran the host-wide task of `Traced`: a pid for each run."""
    lines = whole_lines(service.state_path / "trace")
    return [int(line.split()[2]) for line in lines if line.startswith("sweep ")]


def put(service: Launcher, name: str) -> None:
    """Make the file for which something waits."""
    (service.state_path / name).touch()

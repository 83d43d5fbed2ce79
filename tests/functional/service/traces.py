"""The traces that the managers beside this file leave, and the files that they wait for."""

from collections import Counter

from tests.support.processes import Launcher


def trace(service: Launcher) -> Counter[str]:
    """How often each event was noted."""
    path = service.state_path / "trace"
    lines = path.read_text().splitlines() if path.exists() else []
    return Counter(line.split()[0] for line in lines)


def put(service: Launcher, name: str) -> None:
    """Make the file for which something waits."""
    (service.state_path / name).touch()

"""How a command gets into the namespaces of a worker: a unit has its own /tmp, for instance."""

from pathlib import Path

OPTIONS = {"mnt": "--mount", "net": "--net"}  # of nsenter(1)
OURS = "self"


def within(pid: int, command: str, proc: Path = Path("/proc")) -> str:
    """The command, as root types it to have it run where this process sees its files and ports.
    It is as given if they are ours, or if this user may not know."""
    options = [option for name, option in OPTIONS.items() if _differs(proc, pid, name)]
    return " ".join(["nsenter", f"--target={pid}", *options, command]) if options else command


def _differs(proc: Path, pid: int, name: str) -> bool:
    try:
        one, other = (Path(proc, str(each), "ns", name).readlink() for each in (pid, OURS))
    except OSError:
        return False
    return one != other

"""Whether the kernel has killed for memory, by its own count."""

from pathlib import Path

VMSTAT = Path("/proc/vmstat")


def oom_kills(vmstat: Path = VMSTAT) -> int:
    """Processes of this machine that the kernel has killed for want of memory since it booted,
    those in limited control groups included (proc(5), oom_kill); 0 where it does not say."""
    try:
        lines = vmstat.read_text("ascii", errors="replace").splitlines()
    except OSError:
        return 0
    counts = dict(line.split(" ", 1) for line in lines if " " in line)
    return int(counts.get("oom_kill", 0))

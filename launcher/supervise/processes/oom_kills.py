"""How many processes the kernel has killed for want of memory."""

from pathlib import Path

VMSTAT = Path("/proc/vmstat")


def oom_kills(vmstat: Path = VMSTAT) -> int:
    """Return how many processes the kernel has killed for want of memory since boot.

    The count is for the whole machine and includes limits of control groups (proc(5), oom_kill).
    It is 0 if the kernel does not give it.
    """
    try:
        text = vmstat.read_bytes()
    except OSError:
        return 0
    count, _, _ = text.partition(b"\noom_kill ")[2].partition(b"\n")
    return int(count) if count.isdigit() else 0

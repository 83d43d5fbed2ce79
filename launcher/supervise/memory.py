"""Whether the kernel has killed for memory, by its own count."""

from pathlib import Path

VMSTAT = Path("/proc/vmstat")


def oom_kills(vmstat: Path = VMSTAT) -> int:
    """Processes of this machine that the kernel has killed for want of memory since it booted,
    those in limited control groups included (proc(5), oom_kill); 0 where it does not say."""
    try:
        text = vmstat.read_bytes()
    except OSError:
        return 0
    count, _, _ = text.partition(b"\noom_kill ")[2].partition(b"\n")
    return int(count) if count.isdigit() else 0

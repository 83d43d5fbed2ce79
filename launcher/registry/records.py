"""The records of the registry: plain values, the same for every store."""

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from launcher.errors import LauncherError

REASON_LENGTH = 255


class ServiceState(StrEnum):
    """The last state that a service reported. An `up` that is too old counts as down."""

    UP = "up"
    DRAINING = "draining"
    DOWN = "down"


class ServiceRecord(NamedTuple):
    """A row of `services`: one per (host, binary), shared by all workers. Times are UTC, aware."""

    id: int
    host: str
    binary: str
    topic: str
    version: str
    report_count: int
    last_seen_up: datetime | None
    state: ServiceState
    workers: int
    workers_serving: int
    disabled: bool
    disabled_reason: str | None
    created_at: datetime
    updated_at: datetime | None


class ComputeNode(NamedTuple):
    """A row of `compute_nodes`, one per (host, hypervisor_hostname): the resources of a host."""

    host: str
    hypervisor_hostname: str
    vcpus: int
    vcpus_used: float
    memory_mb: int
    memory_mb_used: int
    local_gb: int
    local_gb_used: int
    free_ram_mb: int
    free_disk_gb: int
    load_average: tuple[float, float, float]
    uptime_seconds: int
    cpu_info: dict[str, object]
    updated_at: datetime | None = None


class ReasonUnusable(LauncherError):
    """a reason must be one line of at most {limit} printable characters, and {reason!r} is not"""


def is_up(record: ServiceRecord, now: datetime, service_down_time_seconds: float) -> bool:
    """Whether a service lives: its last state is not `down`, and its last report is recent. Pure;
    `now` is aware. A report far in the future counts as too old, as in nova: a clock is wrong.
    """
    if record.state is ServiceState.DOWN or record.last_seen_up is None:
        return False
    return abs((now - record.last_seen_up).total_seconds()) <= service_down_time_seconds


def checked_reason(reason: str | None) -> str | None:
    """The reason without blanks at its ends; None for an empty one. Raises ReasonUnusable."""
    text = (reason or "").strip()
    if len(text) > REASON_LENGTH or not text.isprintable():
        beginning = text if len(text) <= 40 else f"{text[:40]}…"
        raise ReasonUnusable(limit=REASON_LENGTH, reason=beginning)
    return text or None

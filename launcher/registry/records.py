"""What the registry knows: plain values, the same whichever store they come from."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ServiceState(StrEnum):
    """What a service said of itself last; an `up` that is too old counts as down."""

    UP = "up"
    DRAINING = "draining"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ServiceRecord:
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


@dataclass(frozen=True, slots=True)
class ComputeNode:
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

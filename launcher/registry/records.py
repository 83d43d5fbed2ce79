"""The records of the registry: plain values, the same for every store."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from launcher.errors import LauncherError

REASON_LENGTH = 255


class ServiceState(StrEnum):
    """The last state that a service reported. One whose report is too old counts as down."""

    UP = "up"
    DEGRADED = "degraded"  # it serves, with too few workers or with a problem
    DRAINING = "draining"
    PAUSED = "paused"
    DOWN = "down"

    @classmethod
    def _missing_(cls, value: object) -> "ServiceState | None":
        """A state that only a newer version knows: the service reports, so it counts as up."""
        return cls.UP if isinstance(value, str) else None


class Start(NamedTuple):
    """A start of a service: one master, with all its workers.

    :ivar id: random; "" for a service that has none, of service version 1.
    :ivar place: where it runs, for people.
    :ivar oldest_version: the oldest service version that it works with.
    """

    id: str = ""
    place: str = ""
    service_version: int = 1
    oldest_version: int = 1


class Belief(NamedTuple):
    """What a report expects of its row. If the row differs, the reporter is told.

    :ivar since: when the start registered, by the database's clock.
    :ivar earliest, latest: the database's clock should show a time between them.
    :ivar down_time: seconds after which another start that reported last no longer counts.
    """

    start: Start
    since: datetime | None
    disabled: bool
    disabled_reason: str | None
    earliest: datetime
    latest: datetime
    down_time: float


class ServiceRecord(NamedTuple):
    """A row of `services`: one per (host, binary), shared by all workers. Times are UTC, aware,
    and the database's.

    :ivar as_of: when the row was read.
    :ivar forced_down: an operator says that it is down, whatever it reports.
    :ivar started_on, started_at: place and time of the start that owns the row.
    :ivar rival_on, rival_since, rival_seen_at: another start that reports as well: its place, when
        it registered, and its last report.
    """

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
    as_of: datetime
    updated_at: datetime | None
    service_version: int = 1
    oldest_version: int = 1
    forced_down: bool = False
    start_id: str = ""
    started_on: str = ""
    started_at: datetime | None = None
    rival_on: str | None = None
    rival_since: datetime | None = None
    rival_seen_at: datetime | None = None

    @property
    def report_age(self) -> float | None:
        """Seconds from the last report until the row was read; None: it has not reported."""
        if self.last_seen_up is None:
            return None
        return (self.as_of - self.last_seen_up) / timedelta(seconds=1)


class ComputeNode(NamedTuple):
    """A row of `compute_nodes`, one per (host, hypervisor_hostname): the resources of a host.

    :ivar binary: the service that saves it, and with which it is deleted.
    """

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
    binary: str = ""


class ReasonUnusable(LauncherError):
    """a reason must be one line of at most {limit} printable characters, and {reason!r} is not"""


def is_reporting(record: ServiceRecord, service_down_time: float) -> bool:
    """Whether the last state of a service is not `down`, and its last report was recent when the
    row was read. Pure; seconds. A report far in the future counts as too old, as in nova: the
    database's clock was set back."""
    age = record.report_age
    return (
        record.state != ServiceState.DOWN and age is not None and (abs(age) <= service_down_time)
    )


def is_up(record: ServiceRecord, service_down_time: float) -> bool:
    """Whether a service lives, and no operator has forced it down. Pure; seconds."""
    return is_reporting(record, service_down_time) and not record.forced_down


def checked_reason(reason: str | None) -> str | None:
    """The reason without blanks at its ends; None for an empty one. Raises ReasonUnusable."""
    text = (reason or "").strip()
    if len(text) > REASON_LENGTH or not text.isprintable():
        beginning = text if len(text) <= 40 else f"{text[:40]}…"
        raise ReasonUnusable(limit=REASON_LENGTH, reason=beginning)
    return text or None

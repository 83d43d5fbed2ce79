"""The interface of the registry. Its callers do not depend on the kind of store."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from launcher.registry.records import Belief, ComputeNode, ServiceRecord, ServiceState, Start

T = TypeVar("T")


class Registry(Protocol):
    """The services and hosts. Made in a worker, after the fork; safe for many threads.

    Every method may raise DatabaseUnavailable (try again later) or DatabaseUnusable.
    """

    def get_service(self, host: str, binary: str) -> ServiceRecord | None:
        """The row of (host, binary), or None."""

    def list_services(
        self, host: str | None = None, binary: str | None = None
    ) -> list[ServiceRecord]:
        """All rows, or those of one host or binary, ordered by binary and host."""

    def map_services(
        self,
        columns: Sequence[str],
        make: Callable[[Any], T],
        host: str | None = None,
        binary: str | None = None,
    ) -> list[T]:
        """What `make` makes of each row of `list_services`. The rows are not kept.

        :param columns: attributes of a ServiceRecord; `make` gets an object with these, `state` as
            text. After a conflict it gets all of them once more.
        """

    def register_service(
        self,
        host: str,
        binary: str,
        *,
        topic: str,
        version: str,
        workers: int,
        start: Start | None = None,
        remembered: ServiceRecord | None = None,
    ) -> ServiceRecord:
        """Update the row of (host, binary), or create it; all workers of a host share it. Never
        changes what an operator sets: `disabled` and `forced_down`.

        :param start: owns the row from now on. None: as it is.
        :param remembered: the row that was deleted while its service ran. A new row is disabled
            and forced down as this one was.
        :raises ServiceTooOld: a newer service does not work with the start's service version.
        """

    def report_service(
        self,
        host: str,
        binary: str,
        *,
        state: ServiceState,
        workers: int,
        workers_serving: int,
        belief: Belief | None = None,
    ) -> ServiceRecord | None:
        """Note that the service lives: report_count + 1, last_seen_up = now.

        :param belief: None: the row is written whoever owns it.
        :return: None if the row is as believed. Else the row that was found. If another start
            owns it, it was not written; if that one lives, it learns of us as its rival.
        :raises ServiceNotFound: the row is gone; it is not created again.
        """

    def set_service_disabled(
        self, host: str, binary: str, *, disabled: bool, reason: str | None
    ) -> ServiceRecord:
        """Enable or disable. :raises ServiceNotFound: there is no row. :raises ReasonUnusable."""

    def set_service_forced_down(
        self, host: str, binary: str, *, forced_down: bool
    ) -> ServiceRecord:
        """Have a service count as down, or no longer. :raises ServiceNotFound: there is no row."""

    def delete_service(
        self, host: str, binary: str, *, unless_seen_within: float | None = None
    ) -> None:
        """Delete the row, and the compute nodes that the service saved.

        :param unless_seen_within: seconds; a service that reported so lately is not deleted.
        :raises ServiceNotFound: there is none. :raises ServiceReports: it is not deleted.
        """

    def newest_version(self) -> int:
        """The highest service version of all rows; 0 if there is none."""

    def oldest_versions(self) -> dict[str, int]:
        """The lowest service version of each host, the hosts with the oldest ones first. The first
        ones hold back a migration that needs a newer version."""

    def save_compute_node(self, node: ComputeNode) -> None:
        """Insert or update the row of (host, hypervisor_hostname)."""

    def list_compute_nodes(self, host: str | None = None) -> list[ComputeNode]:
        """All rows, or those of one host."""

    def descriptors(self) -> list[int]:
        """Called in a forked child: the descriptors that it must close."""

    def close(self) -> None:
        """Close the connections. The object must not be used afterwards."""

"""The interface of the registry. Its callers do not depend on the kind of store."""

from typing import Protocol

from launcher.registry.records import ComputeNode, ServiceRecord, ServiceState


class Registry(Protocol):
    """The services and hosts. Made in a worker, after the fork; safe for many threads.

    Every method may raise DatabaseUnavailable (try again later) or DatabaseUnusable.
    """

    def get_service(self, host: str, binary: str) -> ServiceRecord | None:
        """The row of (host, binary), or None."""

    def list_services(self, host: str | None = None) -> list[ServiceRecord]:
        """All rows, or those of one host, ordered by binary and host."""

    def register_service(
        self, host: str, binary: str, *, topic: str, version: str, workers: int
    ) -> ServiceRecord:
        """Update the row of (host, binary), or create it; all workers of a host share it. Never
        changes `disabled`, which only an operator sets."""

    def report_service(
        self, host: str, binary: str, *, state: ServiceState, workers: int, workers_serving: int
    ) -> None:
        """Note that the service lives: report_count + 1, last_seen_up = now.

        :raises ServiceNotFound: the row is gone; it is not created again.
        """

    def set_service_disabled(
        self, host: str, binary: str, *, disabled: bool, reason: str | None
    ) -> ServiceRecord:
        """Enable or disable. :raises ServiceNotFound: there is no row. :raises ReasonUnusable."""

    def delete_service(self, host: str, binary: str) -> None:
        """Delete the row. :raises ServiceNotFound: there is none."""

    def save_compute_node(self, node: ComputeNode) -> None:
        """Insert or update the row of (host, hypervisor_hostname)."""

    def list_compute_nodes(self, host: str | None = None) -> list[ComputeNode]:
        """All rows, or those of one host."""

    def descriptors(self) -> list[int]:
        """Called in a forked child: the descriptors that it must close."""

    def close(self) -> None:
        """Close the connections. The object must not be used afterwards."""

"""The one interface to the registry. A store behind it may be SQL or RPC; callers cannot tell."""

from typing import Protocol

from launcher.registry.records import ComputeNode, ServiceRecord, ServiceState


class Registry(Protocol):
    """Knows the services and hosts. Made in a worker, after the fork; safe for many threads.

    Every method may raise DatabaseUnavailable (retry later) or DatabaseUnusable (never mends).
    """

    def get_service(self, host: str, binary: str) -> ServiceRecord | None:
        """The row of (host, binary), or None."""

    def list_services(self, host: str | None = None) -> list[ServiceRecord]:
        """All rows, or those of one host, ordered by binary and host."""

    def register_service(
        self, host: str, binary: str, *, topic: str, version: str, workers: int
    ) -> ServiceRecord:
        """Update the row of (host, binary), or create it; whoever loses the race to a sibling
        uses the winner's row. Never changes `disabled`, so that an operator's word survives."""

    def report_service(
        self, host: str, binary: str, *, state: ServiceState, workers: int, workers_serving: int
    ) -> None:
        """Note that the service lives: report_count + 1, last_seen_up = now. Recreates nothing:
        raises ServiceNotFound when the row is gone."""

    def set_service_disabled(
        self, host: str, binary: str, *, disabled: bool, reason: str | None
    ) -> ServiceRecord:
        """Enable or disable; raises ServiceNotFound."""

    def delete_service(self, host: str, binary: str) -> None:
        """Delete the row; raises ServiceNotFound."""

    def save_compute_node(self, node: ComputeNode) -> None:
        """Insert or update the row of (host, hypervisor_hostname)."""

    def list_compute_nodes(self, host: str | None = None) -> list[ComputeNode]:
        """All rows, or those of one host."""

    def close(self) -> None:
        """Give back connections; the object is not used afterwards."""

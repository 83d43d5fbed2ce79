"""The registry in an SQL database."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Delete, Update
from sqlalchemy.exc import IntegrityError

from launcher.errors import ServiceNotFound
from launcher.registry import statements
from launcher.registry.database import Database
from launcher.registry.records import ComputeNode, ServiceRecord, ServiceState, checked_reason
from launcher.registry.rows import from_node, to_node, to_service


def _utc_now() -> datetime:
    return datetime.now(UTC)


class SqlRegistry:
    """Implements launcher.registry.interface.Registry, which describes the methods. Made in the
    worker, after the fork, by `open_registry`; safe for many threads."""

    def __init__(self, database: Database, now: Callable[[], datetime] = _utc_now) -> None:
        self._database = database
        self._now = now

    def get_service(self, host: str, binary: str) -> ServiceRecord | None:
        """One statement."""
        rows = self._database.read(statements.SERVICE, _of(host, binary))
        return to_service(rows[0]) if rows else None

    def list_services(self, host: str | None = None) -> list[ServiceRecord]:
        """One statement."""
        if host is None:
            rows = self._database.read(statements.SERVICES)
        else:
            rows = self._database.read(statements.SERVICES_OF_HOST, {"of_host": host})
        return [to_service(row) for row in rows]

    def register_service(
        self, host: str, binary: str, *, topic: str, version: str, workers: int
    ) -> ServiceRecord:
        """Read the row, then insert or update it if needed: of the workers of a host, one writes
        and the others only read. A worker that loses a race starts over.

        :raises DatabaseUnavailable: it lost every race (`Retries`).
        """
        wanted = {"topic": topic, "version": version, "workers": workers}

        def attempt() -> ServiceRecord | None:
            row = self.get_service(host, binary)
            return self._renew(row, wanted) if row else self._create(host, binary, wanted)

        return self._database.race(f"the row of {binary} on {host}", attempt)

    def report_service(
        self, host: str, binary: str, *, state: ServiceState, workers: int, workers_serving: int
    ) -> None:
        """One statement."""
        now = self._now()
        values = {
            "last_seen_up": now,
            "updated_at": now,
            "state": str(state),
            "workers": workers,
            "workers_serving": workers_serving,
        }
        self._change(statements.REPORT_SERVICE, host, binary, values)

    def set_service_disabled(
        self, host: str, binary: str, *, disabled: bool, reason: str | None
    ) -> ServiceRecord:
        """An enabled service has no reason."""
        why = checked_reason(reason) if disabled else None
        values = {"disabled": disabled, "disabled_reason": why, "updated_at": self._now()}
        self._change(statements.CHANGE_SERVICE, host, binary, values)
        record = self.get_service(host, binary)
        if record is None:
            raise ServiceNotFound(binary=binary, host=host)
        return record

    def delete_service(self, host: str, binary: str) -> None:
        """One statement."""
        self._change(statements.DELETE_SERVICE, host, binary, {})

    def save_compute_node(self, node: ComputeNode) -> None:
        """An upsert that every database understands: update the row, insert it if there is none,
        and start over if another worker inserted it meanwhile."""
        values = from_node(node)
        self._database.race(
            f"the compute node of {node.host}",
            lambda: self._renew_node(values) or self._create_node(values),
        )

    def list_compute_nodes(self, host: str | None = None) -> list[ComputeNode]:
        """One statement; ordered by host and hypervisor_hostname."""
        if host is None:
            rows = self._database.read(statements.NODES)
        else:
            rows = self._database.read(statements.NODES_OF_HOST, {"of_host": host})
        return [to_node(row) for row in rows]

    def descriptors(self) -> list[int]:
        """See Database."""
        return self._database.descriptors()

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def _create(self, host: str, binary: str, wanted: dict[str, Any]) -> ServiceRecord | None:
        """The new row; None if another worker has inserted it."""
        values = wanted | {
            "host": host,
            "binary": binary,
            "report_count": 0,
            "last_seen_up": None,
            "state": str(ServiceState.DOWN),
            "workers_serving": 0,
            "disabled": False,
            "disabled_reason": None,
            "created_at": self._now(),
            "updated_at": None,
        }
        try:
            row_id = self._database.insert(statements.INSERT_SERVICE, values)
        except IntegrityError:  # another worker won the race; its row is ours too
            return None
        return ServiceRecord(**values | {"id": row_id, "state": ServiceState.DOWN})

    def _renew(self, row: ServiceRecord, wanted: dict[str, Any]) -> ServiceRecord | None:
        """The row with these values; None if it was deleted meanwhile."""
        if all(getattr(row, name) == value for name, value in wanted.items()):
            return row
        serving = min(row.workers_serving, wanted["workers"])  # until the next report
        values = wanted | {"workers_serving": serving, "updated_at": self._now()}
        changed = self._database.change(
            statements.CHANGE_SERVICE_BY_ID, values | {"of_id": row.id}
        )
        return row._replace(**values) if changed else None

    def _change(
        self, statement: Update | Delete, host: str, binary: str, values: dict[str, Any]
    ) -> None:
        """Apply a statement to one service; raises ServiceNotFound."""
        if not self._database.change(statement, values | _of(host, binary)):
            raise ServiceNotFound(binary=binary, host=host)

    def _renew_node(self, values: dict[str, Any]) -> bool:
        which = {"of_host": values["host"], "of_hypervisor": values["hypervisor_hostname"]}
        set_and_which = values | {"updated_at": self._now()} | which
        return self._database.change(statements.CHANGE_NODE, set_and_which) > 0

    def _create_node(self, values: dict[str, Any]) -> bool:
        now = self._now()
        row = values | {"created_at": now, "updated_at": now}
        try:
            self._database.insert(statements.INSERT_NODE, row)
        except IntegrityError:  # another worker won the race; update its row
            return False
        return True


def _of(host: str, binary: str) -> dict[str, str]:
    return {"of_host": host, "of_binary": binary}

"""The registry in an SQL database."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Select, bindparam
from sqlalchemy.exc import IntegrityError

from launcher.errors import ServiceNotFound, ServiceReports
from launcher.registry import reporting, statements
from launcher.registry.database import Database
from launcher.registry.models import services
from launcher.registry.records import (
    Belief,
    ComputeNode,
    ServiceRecord,
    ServiceState,
    Start,
    checked_reason,
    is_reporting,
)
from launcher.registry.registration import Registration, columns_of, find, of_service
from launcher.registry.rows import from_node, from_state, to_node, to_service

T = TypeVar("T")


class SqlRegistry:
    """Implements launcher.registry.interface.Registry, which describes the methods. Made in the
    worker, after the fork, by `open_registry`; safe for many threads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get_service(self, host: str, binary: str) -> ServiceRecord | None:
        """One statement."""
        return find(self._database, host, binary)

    def list_services(
        self, host: str | None = None, binary: str | None = None
    ) -> list[ServiceRecord]:
        """One statement."""
        rows = self._database.read(*_of(statements.SERVICES, host, binary))
        return [to_service(row) for row in rows]

    def map_services(
        self,
        columns: Sequence[str],
        make: Callable[[Any], T],
        host: str | None = None,
        binary: str | None = None,
    ) -> list[T]:
        """One query, in a transaction."""
        query = statements.SERVICES.with_only_columns(*(statements.LISTED[one] for one in columns))
        return self._database.map(*_of(query, host, binary), make)

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
        """One statement if the row is as wanted.

        :raises DatabaseUnavailable: it lost every race (`Retries`).
        """
        wanted = {"topic": topic, "version": version, "workers": workers} | columns_of(start)
        ours = Registration(self._database, host, binary, wanted, remembered)
        return self._database.race(f"the row of {binary} on {host}", ours.attempt)

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
        """One statement if the row is as believed."""
        numbers = {"workers": workers, "workers_serving": workers_serving}
        values = from_state(state) | numbers
        return reporting.report(self._database, host, binary, values, belief)

    def set_service_disabled(
        self, host: str, binary: str, *, disabled: bool, reason: str | None
    ) -> ServiceRecord:
        """An enabled service has no reason."""
        why = checked_reason(reason) if disabled else None
        return self._change(host, binary, {"disabled": disabled, "disabled_reason": why})

    def set_service_forced_down(
        self, host: str, binary: str, *, forced_down: bool
    ) -> ServiceRecord:
        """Two statements."""
        return self._change(host, binary, {"forced_down": forced_down})

    def delete_service(
        self, host: str, binary: str, *, unless_seen_within: float | None = None
    ) -> None:
        """Look, judge, and delete in one transaction; once more if it reported meanwhile."""
        of_own = of_service(host, binary)

        def attempt() -> int:
            row = self.get_service(host, binary)
            if row is None:
                raise ServiceNotFound(binary=binary, host=host)
            if unless_seen_within is not None and is_reporting(row, unless_seen_within):
                age = round(row.report_age or 0)
                raise ServiceReports(binary=binary, host=host, state=row.state, age=age)
            of_row = of_own | {"of_id": row.id, "of_report_count": row.report_count}
            return self._database.change_both(
                statements.DELETE_SERVICE, statements.DELETE_NODES, of_row
            )

        self._database.race(f"the row of {binary} on {host}", attempt)

    def newest_version(self) -> int:
        """One statement, which reads all rows."""
        ((newest,),) = self._database.read(statements.NEWEST_VERSION)
        return newest or 0

    def oldest_versions(self) -> dict[str, int]:
        """One statement."""
        return {row.host: row.oldest for row in self._database.read(statements.OLDEST_VERSIONS)}

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

    def _change(self, host: str, binary: str, values: dict[str, Any]) -> ServiceRecord:
        """Change columns of one service, and read it; raises ServiceNotFound."""
        self._database.change(statements.CHANGE_SERVICE, values | of_service(host, binary))
        record = self.get_service(host, binary)
        if record is None:
            raise ServiceNotFound(binary=binary, host=host)
        return record

    def _renew_node(self, values: dict[str, Any]) -> bool:
        which = {"of_host": values["host"], "of_hypervisor": values["hypervisor_hostname"]}
        return self._database.change(statements.CHANGE_NODE, values | which) > 0

    def _create_node(self, values: dict[str, Any]) -> bool:
        try:
            self._database.insert(statements.INSERT_NODE, values)
        except IntegrityError:  # another worker won the race; update its row
            return False
        return True


def _of(
    query: Select[*tuple[Any, ...]], host: str | None, binary: str | None
) -> tuple[Select[*tuple[Any, ...]], dict[str, Any]]:
    """The query for services of a host or binary, and its parameters."""
    values = {}
    if host is not None:
        query, values["of_host"] = query.where(services.c.host == bindparam("of_host")), host
    if binary is not None:
        query = query.where(services.c.binary == bindparam("of_binary"))
        values["of_binary"] = binary
    return query, values

"""Registers a service: one row for all workers of a host, owned by the start that came last."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.exc import IntegrityError

from launcher.errors import ServiceTooOld
from launcher.registry import statements
from launcher.registry.database import Database
from launcher.registry.records import ServiceRecord, ServiceState, Start
from launcher.registry.rows import to_service

NO_RIVAL: dict[str, Any] = {"rival_on": None, "rival_since": None, "rival_seen_at": None}


def find(database: Database, host: str, binary: str) -> ServiceRecord | None:
    """The row of (host, binary), or None. One statement."""
    rows = database.read(statements.SERVICE, of_service(host, binary))
    return to_service(rows[0]) if rows else None


def of_service(host: str, binary: str) -> dict[str, str]:
    """The parameters that select the row."""
    return {"of_host": host, "of_binary": binary}


def columns_of(start: Start | None) -> dict[str, Any]:
    """The columns that a start fills, except its time."""
    if start is None:
        return {}
    return {
        "start_id": start.id,
        "started_on": start.place,
        "service_version": start.service_version,
        "oldest_version": start.oldest_version,
    }


class Registration(NamedTuple):
    """One call of `Registry.register_service`, which describes the rest.

    :ivar wanted: columns.
    """

    database: Database
    host: str
    binary: str
    wanted: dict[str, Any]
    remembered: ServiceRecord | None

    def attempt(self) -> ServiceRecord | None:
        """Read the row, then insert or update it if needed: of the workers of a start, one writes
        and the others only read. Returns None for a lost race.

        :raises ServiceTooOld: see `Registry.register_service`.
        """
        row, wanted = find(self.database, self.host, self.binary), self.wanted
        if row and all(getattr(row, name) == value for name, value in wanted.items()):
            return row
        if row and wanted.get("start_id") in {None, row.start_id}:
            return self._renew(row, wanted)
        began = {"started_at": self._admit()}
        if row:
            return self._renew(row, wanted | began | NO_RIVAL)
        return self._create(wanted | began)

    def _admit(self) -> datetime:
        """Return the database's time, unless another service needs newer ones than this start."""
        of_own = of_service(self.host, self.binary)
        (found,) = self.database.read(statements.OTHERS, of_own)
        ours, needed = self.wanted.get("service_version", Start().service_version), found.needed
        now: datetime = found.now
        if needed is None or ours >= needed:
            return now
        others = self.database.read(
            statements.WITH_OLDEST_VERSION, of_own | {"of_version": needed}
        )
        names = [f"{other.binary} {other.version} on host {other.host}" for other in others]
        raise ServiceTooOld(
            binary=self.binary,
            host=self.host,
            ours=ours,
            needed=needed,
            other=next(iter(names), "another service"),  # it may be gone by now
        )

    def _renew(self, row: ServiceRecord, wanted: dict[str, Any]) -> ServiceRecord | None:
        """The row with these values; None if it was deleted meanwhile."""
        serving = min(row.workers_serving, wanted["workers"])  # until the next report
        values = wanted | {"workers_serving": serving, "updated_at": row.as_of}
        changed = self.database.change(statements.RENEW_SERVICE, values | {"of_id": row.id})
        return row._replace(**values) if changed else None

    def _create(self, wanted: dict[str, Any]) -> ServiceRecord | None:
        """The new row; None if another worker has inserted it."""
        before = self.remembered
        values = wanted | {
            "host": self.host,
            "binary": self.binary,
            "report_count": 0,
            "last_seen_up": None,
            "state": str(ServiceState.DOWN),
            "workers_serving": 0,
            "disabled": before is not None and before.disabled,
            "disabled_reason": before.disabled_reason if before else None,
            "forced_down": before is not None and before.forced_down,
            "created_at": wanted["started_at"],
            "updated_at": None,
        }
        try:
            row_id = self.database.insert(statements.INSERT_SERVICE, values)
        except IntegrityError:  # another worker won the race; its row is ours too
            return None
        record = ServiceRecord(**values | {"id": row_id, "as_of": values["created_at"]})
        return record._replace(state=ServiceState.DOWN)

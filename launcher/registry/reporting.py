"""Reports of a service: one statement as long as the row is as its reporter believes."""

from functools import partial
from typing import Any

from launcher.errors import ServiceNotFound
from launcher.registry import statements
from launcher.registry.database import Database
from launcher.registry.records import Belief, ServiceRecord, ServiceState, is_reporting
from launcher.registry.registration import NO_RIVAL, find, of_service


def report(
    database: Database, host: str, binary: str, values: dict[str, Any], belief: Belief | None
) -> ServiceRecord | None:
    """See `Registry.report_service`. Three statements if the row is not as believed. The last
    report of a stop is not repeated, so it trusts no connection that was idle.

    :param values: columns. :raises ServiceNotFound: the row is gone.
    """
    of_own, is_last = of_service(host, binary), values["state"] == str(ServiceState.DOWN)
    if belief is None:
        if not database.change(statements.REPORT_SERVICE, values | of_own, anew=is_last):
            raise ServiceNotFound(binary=binary, host=host)
        return None
    expected = of_own | _expected(belief)
    if database.change(statements.REPORT_AS_BELIEVED, values | expected, anew=is_last):
        return None
    look = partial(_look, database, host, binary, values, belief)
    return database.race(f"the row of {binary} on {host}", look)


def _expected(belief: Belief) -> dict[str, Any]:
    return {
        "of_start": belief.start.id,
        "of_disabled": belief.disabled,
        "of_disabled_reason": belief.disabled_reason,
        "earliest": belief.earliest,
        "latest": belief.latest,
    }


def _look(
    database: Database, host: str, binary: str, values: dict[str, Any], belief: Belief
) -> ServiceRecord | None:
    """The row that is there; None if another start took it meanwhile."""
    row = find(database, host, binary)
    if row is None:
        raise ServiceNotFound(binary=binary, host=host)
    of_row = {"of_id": row.id, "of_start": row.start_id}
    if row.start_id == belief.start.id:
        row, rest = _without_old_rival(row, belief.down_time)
        written = database.change(statements.REPORT_OF_START, values | rest | of_row)
        return row if written else None
    if values["state"] == str(ServiceState.DOWN):
        database.change(statements.DISMISS_RIVAL, of_row | {"of_rival": belief.start.place})
    elif is_reporting(row, belief.down_time):
        rival = {"rival_on": belief.start.place, "rival_since": belief.since}
        database.change(statements.NOTE_RIVAL, rival | of_row)
    return row


def _without_old_rival(
    row: ServiceRecord, down_time: float
) -> tuple[ServiceRecord, dict[str, Any]]:
    """The row without a rival that no longer reports, and the columns to change for that."""
    if row.rival_seen_at is None:
        return row, {}
    if (row.as_of - row.rival_seen_at).total_seconds() <= down_time:
        return row, {}
    return row._replace(**NO_RIVAL), NO_RIVAL

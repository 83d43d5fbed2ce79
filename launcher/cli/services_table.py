"""What `services list` shows: fields of services, as a table or as values. Pure."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from launcher.cli.short_numbers import age
from launcher.foreign_text import fit
from launcher.registry.records import ServiceRecord, is_reporting

Fields = dict[str, Any]  # of one service, as JSON has them

FORCED_DOWN, DISABLED = "forced down", "disabled"
STATES = ("up", "degraded", "draining", "paused", "down", DISABLED, "forced-down")
COLUMNS = ("host", "binary", "state", "workers", "age", "version", "service_version")
MORE_COLUMNS = ("reason", "last_seen", "started_on", "started_at", "topic", "report_count")


def describe(service: ServiceRecord, down_time: float) -> Fields:
    """The fields of a service. :param down_time: seconds; an older report counts as down."""
    reports = is_reporting(service, down_time)
    state = str(service.state) if reports else "down"
    return {
        "host": service.host,
        "binary": service.binary,
        "state": FORCED_DOWN if service.forced_down else state,
        "status": DISABLED if service.disabled else "enabled",
        "workers": service.workers,
        "workers_serving": service.workers_serving if reports else 0,
        "age": service.report_age,
        "version": service.version,
        "service_version": service.service_version,
        "reason": service.disabled_reason,
        "last_seen": _time(service.last_seen_up),
        "started_on": service.started_on or None,
        "started_at": _time(service.started_at),
        "topic": service.topic,
        "report_count": service.report_count,
    }


def _time(when: Any) -> str | None:
    return when.isoformat() if when else None


def choose(services: Iterable[Fields], states: Sequence[str]) -> list[Fields]:
    """Those in one of the states, which are as in STATES; all if none is given."""
    wanted = {state.replace("-", " ") for state in states}
    return [one for one in services if not wanted or {one["state"], one["status"]} & wanted]


def sort(services: list[Fields], order: Sequence[str]) -> None:
    """Sort in place. :param order: columns, the most important one first; `:desc` reverses one."""
    for key in reversed(order):
        column, _, direction = key.partition(":")
        field = "workers_serving" if column == "workers" else column
        services.sort(key=_key(field), reverse=direction == "desc")


def _key(field: str) -> Callable[[Fields], tuple[bool, Any]]:
    return lambda one: (one[field] is None, one[field])


def columns_of(services: Sequence[Fields], wanted: Sequence[str]) -> list[str]:
    """The columns that are wanted; by default COLUMNS, and the reasons if there are any."""
    if wanted:
        return list(wanted)
    return [*COLUMNS, *(["reason"] if any(one["reason"] for one in services) else [])]


def table(services: Sequence[Fields], columns: Sequence[str]) -> list[str]:
    """Lines of a table: headings, then a row for each service."""
    headings = [column.replace("_", " ") for column in columns]
    cells = [headings, *([_cell(one, column) for column in columns] for one in services)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def values(services: Sequence[Fields], columns: Sequence[str]) -> list[str]:
    """Lines for scripts: a blank between two values, and none in one, except in a reason."""
    return [" ".join(_value(one, column) for column in columns) for one in services]


def _cell(service: Fields, column: str) -> str:
    found = service[column]
    match column:
        case "state":
            disabled = f", {DISABLED}" if service["status"] == DISABLED else ""
            return f"{found}{disabled}"
        case "workers":
            return f"{service['workers_serving']}/{found}"
        case "age":
            return "never" if found is None else age(max(found, 0.0))
        case "last_seen" | "started_at":
            return (found or "-").partition(".")[0].partition("+")[0]
        case _:
            return "" if found is None else fit(str(found))


def _value(service: Fields, column: str) -> str:
    if column == "age":
        return "-" if service["age"] is None else f"{service['age']:.1f}"
    cell = _cell(service, column) or "-"
    return cell.replace(", ", ",").replace(" ", "-") if column == "state" else cell

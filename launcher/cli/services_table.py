"""What `services list` shows: fields of services, as a table, as values or as JSON. Pure."""

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from launcher.cli.services_grammar import COLUMNS
from launcher.cli.short_numbers import age
from launcher.foreign_text import fit, fit_json
from launcher.registry.records import ServiceState, is_reporting

Fields = dict[str, Any]  # of one service, as JSON has them
Cell = Callable[[Fields], str]

FORCED_DOWN, DISABLED = "forced down", "disabled"
REASON = "reason"
CELL_END = "\x1f"  # is in no cell: foreign text is made fit

# The fields, each with the column of the registry that it needs most.
SOURCES = {
    "host": "host",
    "binary": "binary",
    "state": "forced_down",
    "status": "disabled",
    "workers": "workers",
    "workers_serving": "workers_serving",
    "age": "report_age",
    "version": "version",
    "service_version": "service_version",
    REASON: "disabled_reason",
    "last_seen": "last_seen_up",
    "started_on": "started_on",
    "started_at": "started_at",
    "topic": "topic",
    "report_count": "report_count",
}
_ALWAYS = {"state", "status", "workers_serving", "age"}  # for the state, and to choose


def describe(service: Any, down_time: float, fields: Sequence[str] = tuple(SOURCES)) -> Fields:
    """Fields of a service.

    :param service: a ServiceRecord, or an object that has as much of it as the fields need.
    :param down_time: seconds; an older report counts as down.
    """
    reports = is_reporting(service, down_time)
    found = {field: getattr(service, SOURCES[field]) for field in fields}
    state = str(ServiceState(service.state)) if reports else "down"
    found["state"] = FORCED_DOWN if found["state"] else state
    found["status"] = DISABLED if found["status"] else "enabled"
    if not reports:
        found["workers_serving"] = 0
    for field in found.keys() & {"last_seen", "started_at"}:
        found[field] = found[field].isoformat() if found[field] else None
    if found.get("started_on") == "":
        found["started_on"] = None
    return found


class Line(NamedTuple):
    """A service in the list: its fields in JSON, or cells, not yet as wide as their columns."""

    text: str
    keys: tuple[tuple[bool, Any], ...]  # to sort by


class Listing:
    """What is wanted of a list of services. Each becomes a line as it is read: thousands of
    records would fill the memory."""

    def __init__(
        self,
        form: str,
        down_time: float,
        *,
        columns: Sequence[str] = (),
        states: Sequence[str] = (),
        order: Sequence[str] = (),
    ) -> None:
        """:param form: "table", "value" or "json". :param down_time: as in `describe`.
        :param columns: empty: COLUMNS, and the reasons if there are any.
        :param states: as in `services_grammar`; empty: all.
        :param order: columns, the most important one first; `:desc` behind one reverses it.
        """
        self._form = form
        self._down_time = down_time
        self._columns = columns
        self._states = {state.replace("-", " ") for state in states}
        self._keys = [_field_to_sort_by(column.partition(":")[0]) for column in order]
        self._reverse = [column.endswith(":desc") for column in order]
        shown = columns or (*COLUMNS, REASON)
        cells = _VALUES if form == "value" else _CELLS
        self._cells = [cells.get(column) or _plain(column) for column in shown]
        needed = {*shown, *self._keys, *_ALWAYS}
        self._fields = [field for field in SOURCES if form == "json" or field in needed]

    @property
    def sources(self) -> list[str]:
        """The columns of the registry that it needs."""
        return ["state", *(SOURCES[field] for field in self._fields)]

    def line(self, service: Any) -> Line | None:
        """The line of a service, unless it is in none of the states. See `describe`."""
        fields = describe(service, self._down_time, self._fields)
        if self._states and not {fields["state"], fields["status"]} & self._states:
            return None
        keys = tuple([(fields[key] is None, fields[key]) for key in self._keys])
        if self._form == "json":
            return Line(json.dumps(list(fields.values()), ensure_ascii=False), keys)
        return Line(CELL_END.join([cell(fields) for cell in self._cells]), keys)

    def lines(self, found: list[Line]) -> Iterator[str]:
        """All lines, in their order and form. The list is sorted."""
        for number in reversed(range(len(self._keys))):
            found.sort(key=lambda one: one.keys[number], reverse=self._reverse[number])
        if self._form == "json":
            return _json_lines(found)
        columns = self._columns or (*COLUMNS, REASON)
        if not self._columns and all(one.text.endswith(CELL_END) for one in found):
            columns = COLUMNS  # there are no reasons
        return (_value_lines if self._form == "value" else _table_lines)(found, columns)


def _field_to_sort_by(column: str) -> str:
    return "workers_serving" if column == "workers" else column


def _json_lines(found: Sequence[Line]) -> Iterator[str]:
    """As `print_json` prints a list."""
    yield "[" if found else "[]"
    for number, one in enumerate(found, 1):
        fields = dict(zip(SOURCES, json.loads(one.text), strict=True))
        text = json.dumps([fields], indent=2, ensure_ascii=False)
        yield fit_json(text[2:-2]) + ("," if number < len(found) else "\n]")


def _value_lines(found: Sequence[Line], columns: Sequence[str]) -> Iterator[str]:
    """For scripts: a blank between two values, and none in one, except in a reason."""
    for one in found:
        yield " ".join([cell or "-" for cell in one.text.split(CELL_END)[: len(columns)]])


def _table_lines(found: Sequence[Line], columns: Sequence[str]) -> Iterator[str]:
    """Headings, then a line for each service."""
    headings = [column.replace("_", " ") for column in columns]
    widths = [len(heading) for heading in headings]
    for one in found:
        widths = list(map(max, widths, map(len, one.text.split(CELL_END))))
    for cells in chain([headings], (one.text.split(CELL_END) for one in found)):
        yield "  ".join(map(str.ljust, cells, widths)).rstrip()


def _plain(column: str) -> Cell:
    def cell(fields: Fields) -> str:
        found = fields[column]
        text = "" if found is None else str(found)
        return text if text.isprintable() else fit(text)

    return cell


def _state(fields: Fields) -> str:
    state: str = fields["state"]
    return f"{state}, {DISABLED}" if fields["status"] == DISABLED else state


def _state_value(fields: Fields) -> str:
    return _state(fields).replace(", ", ",").replace(" ", "-")


def _workers(fields: Fields) -> str:
    return f"{fields['workers_serving']}/{fields['workers']}"


def _age(fields: Fields) -> str:
    found = fields["age"]
    return "never" if found is None else age(max(found, 0.0))


def _age_value(fields: Fields) -> str:
    found = fields["age"]
    return "" if found is None else f"{found:.1f}"


def _time(column: str) -> Cell:
    return lambda fields: (fields[column] or "-").partition(".")[0].partition("+")[0]


_CELLS: dict[str, Cell] = {
    "state": _state,
    "workers": _workers,
    "age": _age,
    "last_seen": _time("last_seen"),
    "started_at": _time("started_at"),
}
_VALUES = _CELLS | {"state": _state_value, "age": _age_value}

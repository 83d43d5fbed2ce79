"""The grammar of `services`: its commands and their options."""

import argparse
from collections.abc import Callable

STATES = ("up", "degraded", "draining", "paused", "down", "disabled", "forced-down")
COLUMNS = ("host", "binary", "state", "workers", "age", "version", "service_version")
MORE_COLUMNS = ("reason", "last_seen", "started_on", "started_at", "topic", "report_count")
ALL_COLUMNS = (*COLUMNS, *MORE_COLUMNS)
FORMATS = ("table", "value", "json")
EFFECTS = {
    "enable": "mark a service as enabled again",
    "disable": "mark a service as disabled; it goes on serving",
    "force-down": "have a service count as down at once, whatever it reports",
    "delete": "delete the row of a service that is gone, with its compute nodes",
}


def add(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """:param command: adds a command with its help text."""
    _add_list(command("list", "show all services, whether they are up, and who reports"))
    for verb, effect in EFFECTS.items():
        parser = command(verb, effect)
        parser.add_argument("--binary", help="which service; default: this script's name")
        if verb == "disable":
            parser.add_argument("--reason", help="shown by 'services list'; default: none")
        if verb == "force-down":
            parser.add_argument(
                "--unset",
                action="store_true",
                help="the opposite: its reports count again; default: force it down",
            )
        if verb == "delete":
            parser.add_argument(
                "--force",
                action="store_true",
                help="also delete one that is up; it registers again; default: refuse",
            )


def _add_list(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--binary", help="show only these; default: all")
    parser.add_argument(
        "--state",
        action="append",
        default=[],
        choices=STATES,
        help="show only those in this state; may be repeated; default: all",
    )
    parser.add_argument(
        "--sort",
        action="append",
        default=[],
        type=sorting,
        metavar="COLUMN[:desc]",
        help="sort by a column, then by the next one that is named; default: binary, host",
    )
    parser.add_argument(
        "-c",
        "--column",
        action="append",
        default=[],
        choices=ALL_COLUMNS,
        metavar="COLUMN",
        help=f"show this one; may be repeated; also there: {', '.join(MORE_COLUMNS)}; default: "
        f"{', '.join(COLUMNS)}",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument(
        "--json",
        dest="format",
        action="store_const",
        const="json",
        help="print JSON, with all fields; default: a table",
    )
    form.add_argument(
        "-f",
        "--format",
        choices=FORMATS,
        default="table",
        help="value: for scripts; default: table",
    )
    form.add_argument(
        "--watch", action="store_true", help="refresh until Ctrl-C; default: print once"
    )


def sorting(text: str) -> str:
    """A column to sort by."""
    column, colon, direction = text.partition(":")
    if column not in ALL_COLUMNS or (colon and direction not in {"asc", "desc"}):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no column with :asc or :desc behind it; columns: "
            f"{', '.join(ALL_COLUMNS)}"
        )
    return text

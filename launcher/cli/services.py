"""`services`: list, enable, disable and delete services in the registry."""

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from oslo_config import cfg

from launcher.cli import owner
from launcher.cli.output import print_json, print_line
from launcher.foreign_text import fit
from launcher.registry.interface import Registry
from launcher.registry.records import ServiceRecord
from launcher.serve.servicegroup import is_up

HEADINGS = ("binary", "host", "status", "state", "workers", "last seen", "reason")


def become_owner(conf: cfg.ConfigOpts) -> None:
    """As root, become the owner of an embedded database. Called before a thread is started, and
    after the imports, since the owner may not be able to read the modules.

    :raises ConfigError: the URL of the database is wrong.
    :raises DatabaseUnusable, PlaceUntrusted, OwnerUnreachable: see `owner.become_database_owner`.
    """
    from launcher.registry import engine, store  # noqa: F401, PLC0415  # imports SQLAlchemy

    engine.make_database(conf.database.connection)  # checks the URL
    owner.become_database_owner(conf.database.connection)


def show_list(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Print services as a table or as JSON."""
    now = datetime.now(UTC)
    with _registry(conf) as registry:
        found = registry.list_services(getattr(args, "host", None))
    rows = [describe(service, now, conf.service_down_time) for service in found]
    if args.json:
        print_json(rows)
        return 0
    for line in table(rows):
        print_line(line)
    return 0


def enable(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Mark a service as enabled again."""
    binary = args.binary or conf.prog
    with _registry(conf) as registry:
        registry.set_service_disabled(conf.host, binary, disabled=False, reason=None)
    print_line(f"{binary} on host {conf.host} is enabled")
    return 0


def disable(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Mark a service as disabled, with a reason. It goes on serving."""
    binary = args.binary or conf.prog
    with _registry(conf) as registry:
        registry.set_service_disabled(conf.host, binary, disabled=True, reason=args.reason)
    reason = f" ({args.reason})" if args.reason else ""
    print_line(f"{binary} on host {conf.host} is disabled{reason}")
    return 0


def delete(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Delete a service's row. A service that runs registers again."""
    binary = args.binary or conf.prog
    with _registry(conf) as registry:
        registry.delete_service(conf.host, binary)
    print_line(f"{binary} on host {conf.host} is deleted; a running service registers again")
    return 0


def describe(service: ServiceRecord, now: datetime, down_time: float) -> dict[str, Any]:
    """The fields of a service to show, as table or JSON."""
    up = is_up(service, now, down_time)
    return {
        "binary": service.binary,
        "host": service.host,
        "status": "disabled" if service.disabled else "enabled",
        "state": str(service.state) if up else "down",
        "workers": service.workers,
        "workers_serving": service.workers_serving if up else 0,
        "last_seen": service.last_seen_up.isoformat() if service.last_seen_up else None,
        "reason": service.disabled_reason,
        "topic": service.topic,
        "version": service.version,
        "report_count": service.report_count,
    }


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a table: headings, then a row for each service."""
    cells = [list(HEADINGS), *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]


def _cells(row: dict[str, Any]) -> list[str]:
    seen = (row["last_seen"] or "never").partition(".")[0].partition("+")[0]
    workers = f"{row['workers_serving']}/{row['workers']}"
    first = [row["binary"], row["host"], row["status"], row["state"]]
    return [fit(str(cell)) for cell in (*first, workers, seen, row["reason"] or "")]


@contextmanager
def _registry(conf: cfg.ConfigOpts) -> Iterator[Registry]:
    from launcher.registry import engine, store  # noqa: PLC0415  # imports SQLAlchemy

    database = engine.make_database(conf.database.connection)
    registry = store.SqlRegistry(engine.reached(database))
    try:
        yield registry
    finally:
        registry.close()

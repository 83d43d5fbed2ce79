"""`services`: what the registry knows of services, and an operator's word on them."""

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from oslo_config import cfg

from launcher.cli.client import print_line
from launcher.registry.interface import Registry
from launcher.registry.records import ServiceRecord
from launcher.serve.servicegroup import is_up

HEADINGS = ("binary", "host", "status", "state", "workers", "last seen", "reason")


def show_list(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """A table, or JSON."""
    now = datetime.now(UTC)
    with _registry(conf) as registry:
        found = registry.list_services(getattr(args, "host", None))
    rows = [describe(service, now, conf.service_down_time) for service in found]
    if args.json:
        print_line(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    for line in table(rows):
        print_line(line)
    return 0


def enable(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Take calls for new work again."""
    with _registry(conf) as registry:
        registry.set_service_disabled(
            conf.host, args.binary or conf.prog, disabled=False, reason=None
        )
    return 0


def disable(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Have the service shown as disabled, with a reason."""
    with _registry(conf) as registry:
        registry.set_service_disabled(
            conf.host, args.binary or conf.prog, disabled=True, reason=args.reason
        )
    return 0


def delete(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Forget a service; one that runs registers anew at its next start."""
    with _registry(conf) as registry:
        registry.delete_service(conf.host, args.binary or conf.prog)
    return 0


def describe(service: ServiceRecord, now: datetime, down_time: float) -> dict[str, Any]:
    """A service as both forms show it."""
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
    """Aligned columns under their headings."""
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
    return [*first, workers, seen, row["reason"] or ""]


@contextmanager
def _registry(conf: cfg.ConfigOpts) -> Iterator[Registry]:
    from launcher.registry.engine import open_registry  # noqa: PLC0415  # imports SQLAlchemy

    registry = open_registry(conf.database.connection)
    try:
        yield registry
    finally:
        registry.close()

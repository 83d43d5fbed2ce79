"""`services`: list, enable, disable, force down and delete services in the registry."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from oslo_config import cfg

from launcher.cli import registry_access
from launcher.cli.output import print_line, print_lines
from launcher.cli.services_table import Line, Listing
from launcher.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from rich.console import RenderableType

WATCH_SECONDS = 2.0  # between two looks
Look = Callable[[], list[Line]]
Bounded = Callable[[Look], list[Line]]  # calls it within a time limit


def show_list(
    conf: cfg.ConfigOpts, args: argparse.Namespace, bounded: Bounded = lambda look: look()
) -> int:
    """Print services as a table, as values for scripts or as JSON. Only the database has a time
    limit: a pager may read the output for hours."""
    listing = _listing(conf, args)
    print_lines(listing.lines(bounded(partial(_look, conf, args, listing))))
    return 0


def watch_list(conf: cfg.ConfigOpts, args: argparse.Namespace, bounded: Bounded) -> int:
    """Show the table until Ctrl-C. A database that cannot be reached is said, and asked again."""
    from launcher.cli import screen  # noqa: PLC0415  # imports rich

    listing = _listing(conf, args)

    def look() -> "RenderableType":
        try:
            found = bounded(partial(_look, conf, args, listing))
        except DatabaseUnavailable as error:
            return screen.plain([str(error)])
        return screen.plain(list(listing.lines(found)))

    return screen.watch(look, WATCH_SECONDS)


def _listing(conf: cfg.ConfigOpts, args: argparse.Namespace) -> Listing:
    chosen = {"columns": args.column, "states": args.state, "order": args.sort}
    return Listing(args.format, conf.service_down_time, **chosen)


def _look(conf: cfg.ConfigOpts, args: argparse.Namespace, listing: Listing) -> list[Line]:
    with registry_access.opened(conf) as registry:
        host: str | None = getattr(args, "host", None)
        made = registry.map_services(listing.sources, listing.line, host, args.binary)
    return [line for line in made if line]


def enable(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Mark a service as enabled again."""
    with registry_access.opened(conf) as registry:
        registry.set_service_disabled(conf.host, _binary(conf, args), disabled=False, reason=None)
    return _say(conf, args, "is enabled")


def disable(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Mark a service as disabled, with a reason. It goes on serving."""
    with registry_access.opened(conf) as registry:
        registry.set_service_disabled(
            conf.host, _binary(conf, args), disabled=True, reason=args.reason
        )
    reason = f" ({args.reason})" if args.reason else ""
    return _say(conf, args, f"is disabled{reason}")


def force_down(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Have a service count as down, whatever it reports; or have its reports count again."""
    with registry_access.opened(conf) as registry:
        registry.set_service_forced_down(
            conf.host, _binary(conf, args), forced_down=not args.unset
        )
    if args.unset:
        return _say(conf, args, "is not forced down any more; its reports count again")
    return _say(conf, args, "is forced down, until 'services force-down --unset'")


def delete(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Delete a service's row and its compute nodes.

    :raises ServiceReports: it is up, and `--force` is not given.
    """
    within = None if args.force else conf.service_down_time
    with registry_access.opened(conf) as registry:
        registry.delete_service(conf.host, _binary(conf, args), unless_seen_within=within)
    return _say(conf, args, "is deleted, with its compute nodes; if it runs, it registers again")


def _binary(conf: cfg.ConfigOpts, args: argparse.Namespace) -> str:
    return str(args.binary or conf.prog)


def _say(conf: cfg.ConfigOpts, args: argparse.Namespace, what: str) -> int:
    print_line(f"{_binary(conf, args)} on host {conf.host} {what}")
    return 0

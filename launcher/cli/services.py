"""`services`: list, enable, disable, force down and delete services in the registry."""

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from oslo_config import cfg

from launcher.cli import owner, services_table
from launcher.cli.bus_client import close
from launcher.cli.output import print_json, print_line, print_text
from launcher.cli.services_table import Fields
from launcher.conductor.remote_registry import RemoteRegistry
from launcher.errors import DatabaseUnavailable
from launcher.rabbit.troubles import Troubles
from launcher.registry.interface import Registry
from launcher.serve import rpc

if TYPE_CHECKING:
    from rich.console import RenderableType

WATCH_SECONDS = 2.0  # between two looks


def become_owner(conf: cfg.ConfigOpts) -> None:
    """As root, become the owner of an embedded database, or of the embedded bus with a conductor
    on it. Called before a thread is started, and after the imports, since the owner may not be
    able to read the modules.

    :raises ConfigError: the URL of the database is wrong.
    :raises DatabaseUnusable, BusUnavailable, PlaceUntrusted, OwnerUnreachable: see `owner`.
    """
    if conf.database.use_conductor:
        rpc.get_transport(conf, passing=True)  # imports the driver
        owner.become_bus_owner(conf)
        return
    from launcher.registry import engine, store  # noqa: F401, PLC0415  # imports SQLAlchemy

    engine.make_database(conf.database.connection)  # checks the URL
    owner.become_database_owner(conf.database.connection)


def show_list(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Print services as a table, as values for scripts or as JSON."""
    rows = _look(conf, args)
    if args.format == "json":
        print_json(rows)
        return 0
    columns = services_table.columns_of(rows, args.column)
    form = services_table.values if args.format == "value" else services_table.table
    if lines := form(rows, columns):
        print_text("\n".join(lines))
    return 0


def watch_list(
    conf: cfg.ConfigOpts,
    args: argparse.Namespace,
    bounded: Callable[[Callable[[], list[Fields]]], list[Fields]],
) -> int:
    """Show the table until Ctrl-C. A database that cannot be reached is said, and asked again.

    :param bounded: calls its argument within a time limit.
    """
    from launcher.cli import screen  # noqa: PLC0415  # imports rich

    def look() -> "RenderableType":
        try:
            rows = bounded(lambda: _look(conf, args))
        except DatabaseUnavailable as error:
            return screen.plain([str(error)])
        columns = services_table.columns_of(rows, args.column)
        return screen.plain(services_table.table(rows, columns))

    return screen.watch(look, WATCH_SECONDS)


def _look(conf: cfg.ConfigOpts, args: argparse.Namespace) -> list[Fields]:
    with _registry(conf) as registry:
        found = registry.list_services(getattr(args, "host", None), args.binary)
    described = (services_table.describe(one, conf.service_down_time) for one in found)
    rows = services_table.choose(described, args.state)
    services_table.sort(rows, args.sort)
    return rows


def enable(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Mark a service as enabled again."""
    with _registry(conf) as registry:
        registry.set_service_disabled(conf.host, _binary(conf, args), disabled=False, reason=None)
    return _say(conf, args, "is enabled")


def disable(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Mark a service as disabled, with a reason. It goes on serving."""
    with _registry(conf) as registry:
        registry.set_service_disabled(
            conf.host, _binary(conf, args), disabled=True, reason=args.reason
        )
    reason = f" ({args.reason})" if args.reason else ""
    return _say(conf, args, f"is disabled{reason}")


def force_down(conf: cfg.ConfigOpts, args: argparse.Namespace) -> int:
    """Have a service count as down, whatever it reports; or have its reports count again."""
    with _registry(conf) as registry:
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
    with _registry(conf) as registry:
        registry.delete_service(conf.host, _binary(conf, args), unless_seen_within=within)
    return _say(conf, args, "is deleted, with its compute nodes; if it runs, it registers again")


def _binary(conf: cfg.ConfigOpts, args: argparse.Namespace) -> str:
    return str(args.binary or conf.prog)


def _say(conf: cfg.ConfigOpts, args: argparse.Namespace, what: str) -> int:
    print_line(f"{_binary(conf, args)} on host {conf.host} {what}")
    return 0


@contextmanager
def _registry(conf: cfg.ConfigOpts) -> Iterator[Registry]:
    if conf.database.use_conductor:
        with _conductor(conf) as registry:
            yield registry
        return
    from launcher.registry import engine, store  # noqa: PLC0415  # imports SQLAlchemy

    database = engine.make_database(conf.database.connection)
    registry = store.SqlRegistry(engine.reached(database))
    try:
        yield registry
    finally:
        registry.close()


@contextmanager
def _conductor(conf: cfg.ConfigOpts) -> Iterator[Registry]:
    """The registry behind a conductor, which answers."""
    transport, troubles = rpc.get_transport(conf, passing=True), Troubles.watch()
    why = partial(troubles.error, conf.transport_url)
    registry = RemoteRegistry(transport, conf.transport_url, why=why)
    try:
        registry.check()
        yield registry
    finally:
        close(transport)

"""The table of commands that ask the registry, `services` and `db`, and how each is run."""

import argparse
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from oslo_config import cfg

from launcher.cli import db_command, registry_access, services
from launcher.config.masking import mask_url
from launcher.deadline import within
from launcher.errors import ConductorUnavailable, DatabaseUnavailable

FAMILIES = ("services ", "db ")  # beginnings of their names
DATABASE_SECONDS = 30.0  # for a command; longer than the wait for a locked SQLite file

T = TypeVar("T")

COMMANDS: dict[str, Callable[[cfg.ConfigOpts, argparse.Namespace], int]] = {
    "services list": services.show_list,
    "services enable": services.enable,
    "services disable": services.disable,
    "services force-down": services.force_down,
    "services delete": services.delete,
    "db upgrade": db_command.upgrade,
    "db check": db_command.check,
    "db history": db_command.history,
}


def run(args: argparse.Namespace, load: Callable[[], None]) -> int:
    """Run a command. Return its exit status.

    :param load: reads the configuration into cfg.CONF, or raises ConfigError.
    """
    load()
    if args.command.startswith("db "):
        db_command.require_database(cfg.CONF)
        db_command.preload(args.command)
    registry_access.become_owner(cfg.CONF)
    if args.command == "services list":
        show = services.watch_list if args.watch else services.show_list
        return show(cfg.CONF, args, _in_time)
    command = partial(COMMANDS[args.command], cfg.CONF, args)
    if args.command == "db upgrade":  # the database has to answer; the upgrade may take longer
        _in_time(partial(db_command.found, cfg.CONF))
        return command()
    return _in_time(command)


def _in_time(action: Callable[[], T]) -> T:
    return within(DATABASE_SECONDS, action, _silent_database)


def _silent_database() -> DatabaseUnavailable:
    why = f"no answer within {DATABASE_SECONDS:g} s"
    if cfg.CONF.database.use_conductor:
        return ConductorUnavailable(url=mask_url(cfg.CONF.transport_url), reason=why)
    return DatabaseUnavailable(url=mask_url(cfg.CONF.database.connection), reason=why)

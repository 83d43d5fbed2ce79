"""The table of commands, and how each is run."""

import argparse
import os
from collections.abc import Callable
from functools import partial

from oslo_config import cfg

from launcher.cli import (
    bus_client as client,
)
from launcher.cli import (
    common_options,
    completion,
    config_command,
    control_commands,
    db_command,
    methods,
    no_answer,
    services,
)
from launcher.cli.control_client import ControlClient
from launcher.config import loader
from launcher.config.masking import mask_url
from launcher.deadline import within
from launcher.directories import paths
from launcher.errors import ConductorUnavailable, ConfigError, DatabaseUnavailable, NoAnswer

DATABASE_SECONDS = 30.0  # for a command; longer than the wait for a locked SQLite file

Load = Callable[[], None]  # reads the configuration into cfg.CONF, or raises ConfigError

COMMANDS: dict[str, Callable[[cfg.ConfigOpts, argparse.Namespace], int]] = {
    "ping": client.ping,
    "call": client.call,
    "methods": methods.show,
    "services list": services.show_list,
    "services enable": services.enable,
    "services disable": services.disable,
    "services force-down": services.force_down,
    "services delete": services.delete,
    "db upgrade": db_command.upgrade,
    "db check": db_command.check,
    "db history": db_command.history,
    "config check": config_command.check,
    "config show": config_command.show,
}

# Commands that ask the master through its control socket.
CONTROL: dict[str, Callable[[ControlClient, argparse.Namespace], int]] = {
    "health": control_commands.health,
    "reload": control_commands.reload,
    "restart-worker": control_commands.restart_worker,
    "scale": control_commands.scale,
    "status": control_commands.status,
}


def run(binary: str, args: argparse.Namespace, load: Load) -> int:
    """Run a command. Return its exit status."""
    if args.command == "config sample":  # needs no configuration, nor does the next
        return config_command.sample(cfg.CONF, args)
    if args.command == "completion":
        return completion.show(binary, args)
    if command := CONTROL.get(args.command):
        return command(_control_client(binary, args), args)
    load()
    if args.command.startswith("db "):
        db_command.require_database(cfg.CONF)
    if args.command.startswith(("services ", "db ")):
        db_command.preload(args.command)
        services.become_owner(cfg.CONF)
        return _ask_database(args)
    try:
        return _command(args)
    except NoAnswer as error:
        if hint := no_answer.explain(cfg.CONF, args.worker):
            raise error.explained(hint) from error
        raise


def _ask_database(args: argparse.Namespace) -> int:
    """The database has to answer in time; an upgrade may then take longer."""
    if args.command == "db upgrade":
        within(DATABASE_SECONDS, partial(db_command.found, cfg.CONF), _silent_database)
        return _command(args)
    if args.command == "services list" and args.watch:
        return services.watch_list(
            cfg.CONF, args, lambda look: within(DATABASE_SECONDS, look, _silent_database)
        )
    return within(DATABASE_SECONDS, partial(_command, args), _silent_database)


def _command(args: argparse.Namespace) -> int:
    return COMMANDS[args.command](cfg.CONF, args)


def _silent_database() -> DatabaseUnavailable:
    why = f"no answer within {DATABASE_SECONDS:g} s"
    if cfg.CONF.database.use_conductor:
        return ConductorUnavailable(url=mask_url(cfg.CONF.transport_url), reason=why)
    return DatabaseUnavailable(url=mask_url(cfg.CONF.database.connection), reason=why)


def _control_client(binary: str, args: argparse.Namespace) -> ControlClient:
    """A client of the configured service. If the configuration cannot be read, of a service in
    the default runtime directory."""
    host = getattr(args, "host", None)
    try:
        found = loader.runtime_path(binary, common_options.config_args(args))
        return ControlClient(binary, found, host=host)
    except ConfigError as error:
        return ControlClient(binary, paths.runtime_path(os.environ, binary), error, host)

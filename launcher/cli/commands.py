"""The table of commands, but for those of `registry_commands`, and how each is run."""

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
    config_command,
    control_commands,
    history_command,
    methods,
    no_answer,
)
from launcher.cli.control_client import ControlClient
from launcher.config import loader
from launcher.directories import locations
from launcher.errors import ConfigError, ConfigFileMissing, NoAnswer

Load = Callable[[], None]  # reads the configuration into cfg.CONF, or raises ConfigError

COMMANDS: dict[str, Callable[[cfg.ConfigOpts, argparse.Namespace], int]] = {
    "ping": client.ping,
    "call": client.call,
    "methods": methods.show,
    "config check": config_command.check,
    "config show": config_command.show,
}

# Commands that ask the master through its control socket.
CONTROL: dict[str, Callable[[ControlClient, argparse.Namespace], int]] = {
    "debug": control_commands.debug,
    "health": control_commands.health,
    "pause": control_commands.pause,
    "reload": control_commands.reload,
    "restart-worker": control_commands.restart_worker,
    "resume": control_commands.resume,
    "scale": control_commands.scale,
    "status": control_commands.status,
    "upgrade": control_commands.upgrade,
}


def run(binary: str, args: argparse.Namespace, load: Load) -> int:
    """Run a command. Return its exit status."""
    if args.command == "config sample":  # needs no configuration
        return config_command.sample(cfg.CONF, args)
    if args.command == "history":
        client = _control_client(binary, args)
        return history_command.show(client, args, partial(_state_path, load))
    if command := CONTROL.get(args.command):
        return command(_control_client(binary, args), args)
    load()
    try:
        return COMMANDS[args.command](cfg.CONF, args)
    except NoAnswer as error:
        if hint := no_answer.explain(cfg.CONF, args.worker):
            raise error.explained(hint) from error
        raise


def _state_path(load: Load) -> str:
    load()
    return str(cfg.CONF.state_path)


def _control_client(binary: str, args: argparse.Namespace) -> ControlClient:
    """A client of the configured service. If the configuration cannot be read, of a service in
    the default runtime directory.

    :raises ConfigFileMissing: a file that the command line names is not there: the service in the
        default directory may be another one.
    """
    host = getattr(args, "host", None)
    try:
        found = loader.runtime_path(binary, common_options.config_args(args))
        return ControlClient(binary, found, host=host)
    except ConfigFileMissing:
        raise
    except ConfigError as error:
        return ControlClient(binary, locations.runtime_path(os.environ, binary), error, host)

"""What can be asked of the service, or about it: the one table of its commands."""

import argparse
import os
from collections.abc import Callable

from oslo_config import cfg

from launcher import config, paths
from launcher.cli import client, completion, configuration, control, parser, services
from launcher.errors import ConfigError

Load = Callable[[], None]  # reads the configuration into cfg.CONF, or raises ConfigError

COMMANDS: dict[str, Callable[[cfg.ConfigOpts, argparse.Namespace], int]] = {
    "ping": client.ping,
    "call": client.call,
    "services list": services.show_list,
    "services enable": services.enable,
    "services disable": services.disable,
    "services delete": services.delete,
    "config check": configuration.check,
    "config show": configuration.show,
}

# To the master, through its control socket.
CONTROL: dict[str, Callable[[control.Service, argparse.Namespace], int]] = {
    "health": control.health,
    "reload": control.reload,
    "restart-worker": control.restart_worker,
    "scale": control.scale,
    "status": control.status,
}


def run(binary: str, args: argparse.Namespace, load: Load) -> int:
    """The command that is asked for; returns its exit status."""
    if args.command == "config sample":  # works with any configuration, or none; the next as well
        return configuration.sample(cfg.CONF, args)
    if args.command == "completion":
        return completion.show(binary, args)
    if command := CONTROL.get(args.command):
        return command(_find_service(binary, args), args)
    load()
    return COMMANDS[args.command](cfg.CONF, args)


def _find_service(binary: str, args: argparse.Namespace) -> control.Service:
    """Where the configuration says or, if it cannot be read, where it is without any."""
    try:
        return control.Service(binary, config.runtime_path(binary, parser.config_args(args)))
    except ConfigError as error:
        return control.Service(binary, paths.runtime_path(os.environ, binary), error)

"""Runs the service in the foreground. Reads the configuration, for it and for commands."""

import argparse
import os
from collections.abc import Callable

from oslo_config import cfg

from launcher.cli import common_options
from launcher.config import file_contents, loader
from launcher.errors import LauncherError
from launcher.serve import profiling
from launcher.supervise.upgrade.predecessor import Predecessor
from launcher.supervise.watch.notify import Notifier
from launcher.writing import log, outlet


def run(
    binary: str,
    args: argparse.Namespace,
    on_load: Callable[[cfg.ConfigOpts], None] = lambda conf: None,
) -> int:
    """Run the service. Return its exit status.

    Reads systemd's variables first, so that systemd is also told of a wrong configuration.

    :param on_load: called when the configuration is read. May raise LauncherError.
    :raises LauncherError: it could not start or go on.
    """
    outlet.take_over()
    notifier = Notifier.from_environment(os.environ)
    predecessor = Predecessor.from_environment(os.environ)
    if predecessor:
        notifier.keep_silent()
    try:
        load(binary, args)
        on_load(cfg.CONF)
        from launcher.serve.manager_application import ManagerApplication  # noqa: PLC0415  # as below
        from launcher.supervise.master import Master  # noqa: PLC0415  # imports SQLAlchemy
        from launcher.supervise.operations.in_force import Configuration  # noqa: PLC0415  # as below

        config_args, overrides = common_options.config_args(args), common_options.overrides(args)
        application = ManagerApplication(cfg.CONF, binary)
        configuration = Configuration(cfg.CONF, binary, application, config_args, overrides)
        return Master(
            *(cfg.CONF, binary, notifier, configuration, application),
            predecessor=predecessor,
            why_not_upgradable="--dev has it start anew when a file is saved" if args.dev else "",
        ).run()
    except LauncherError as error:
        notifier.failed(error.exit_status, str(error))
        if predecessor:
            predecessor.tell_failure(error)
        raise


def load(
    binary: str, args: argparse.Namespace, *, command: bool = False, needs_bus: bool = True
) -> None:
    """Read the configuration, and set up logging by it. Raises ConfigError.

    :param command: log to stderr only. Log files belong to the service: a command of root would
        create them as root, or follow a link of the service's user.
    :param needs_bus: see `loader.load`.
    """
    config_args = common_options.config_args(args)
    overrides = common_options.overrides(args)
    loader.load(cfg.CONF, binary, config_args, needs_bus=needs_bus, **overrides)
    profiling.register(cfg.CONF, file_contents.sections(file_contents.read(binary, config_args)))
    if command:
        log.keep_to_stderr(cfg.CONF)
    log.setup(cfg.CONF, binary, plain=args.dev)

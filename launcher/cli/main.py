"""Picks the command. Turns an error into one sentence on stderr and an exit status."""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial

from oslo_config import cfg

from launcher import blocked_signals, native_threads
from launcher.cli import common_options, parser, program
from launcher.cli.output import complain
from launcher.config import file_contents, loader
from launcher.errors import ExitStatus, LauncherError, UsageError
from launcher.serve import profiling
from launcher.supervise.watch.notify import Notifier
from launcher.writing import log, outlet


def main(argv: Sequence[str]) -> int:
    """Run the service or a command. Return the exit status.

    :param argv: `argv[0]` is the script's name, which picks topic and manager.
    """
    binary = parser.binary_name(argv[0])
    try:
        args = parser.build(binary).parse_args(argv[1:])
        if args.proof and not hasattr(args, "program"):
            raise UsageError(problem="--proof is for a program, not for a manager")
        if name := getattr(args, "program", None):
            binary = program.binary_of(name)
            program.refuse(args)
        if args.command is None and args.dev:
            native_threads.require()
            from launcher.dev import restarter  # noqa: PLC0415  # the service needs none of it

            return restarter.run(binary, partial(run, binary, args))
        if args.command is None:
            return run(binary, args)
        blocked_signals.unblock()
        return _run_command(binary, args)
    except LauncherError as error:
        return _end_with(binary, error)
    except BrokenPipeError:  # the reader of our output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.STOPPED
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED


def _run_command(binary: str, args: argparse.Namespace) -> int:
    from launcher.cli import registry_commands  # noqa: PLC0415  # the service needs none of it

    on_registry = args.command.startswith(registry_commands.FAMILIES)
    load_it = partial(load, binary, args, command=True, needs_bus=not on_registry)
    if on_registry:
        gc.enable()
        return registry_commands.run(args, load_it)
    native_threads.require()
    from launcher.cli import commands  # noqa: PLC0415  # imports oslo.messaging

    gc.enable()
    return commands.run(binary, args, load_it)


def run(
    binary: str,
    args: argparse.Namespace,
    on_load: Callable[[cfg.ConfigOpts], None] = lambda conf: None,
) -> int:
    """Run the service in the foreground. Return its exit status.

    Reads systemd's variables first, so that systemd is also told of a wrong configuration.

    :param on_load: called when the configuration is read. May raise LauncherError.
    """
    outlet.take_over()
    notifier = Notifier.from_environment(os.environ)
    try:
        load(binary, args)
        on_load(cfg.CONF)
        from launcher.serve.manager_application import ManagerApplication  # noqa: PLC0415  # as below
        from launcher.supervise.master import Master  # noqa: PLC0415  # imports SQLAlchemy
        from launcher.supervise.operations.in_force import Configuration  # noqa: PLC0415  # as below

        config_args, overrides = common_options.config_args(args), common_options.overrides(args)
        application = ManagerApplication(cfg.CONF, binary)
        configuration = Configuration(cfg.CONF, binary, application, config_args, overrides)
        return Master(cfg.CONF, binary, notifier, configuration, application).run()
    except LauncherError as error:
        notifier.failed(error.exit_status, str(error))
        return _end_with(binary, error)


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


def _end_with(binary: str, error: LauncherError) -> int:
    """Print the error as the last line. Return its exit status."""
    log.end()
    complain(binary, error)
    return error.exit_status

"""Picks the command, turns errors into one sentence on stderr and the right exit status."""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from oslo_config import cfg

from launcher import config, contents, log
from launcher.cli import parser
from launcher.errors import ExitStatus, LauncherError
from launcher.serve import profiling
from launcher.supervise import signals
from launcher.supervise.notify import Notifier


def main(argv: Sequence[str]) -> int:
    """Entry point: `argv[0]` is the script's name, which picks topic and manager."""
    _fill_standard_descriptors()
    binary = binary_name(argv[0])
    try:
        args = parser.build(binary).parse_args(argv[1:])
        if args.command is None:
            return run(binary, args)
        signals.unblock()
        from launcher.cli import commands  # noqa: PLC0415  # the service needs none of it

        gc.enable()
        return commands.run(binary, args, partial(load, binary, args))
    except LauncherError as error:
        return complain(binary, error)
    except BrokenPipeError:  # the reader of our output has had enough, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.STOPPED
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED


def run(binary: str, args: argparse.Namespace) -> int:
    """The service itself, in the foreground; takes the systemd variables out of the environment
    before anything else, so that a wrong configuration can be told to systemd too."""
    notifier = Notifier.from_environment(os.environ)
    try:
        load(binary, args)
        from launcher.supervise.configuration import Configuration  # noqa: PLC0415  # as below
        from launcher.supervise.master import Master  # noqa: PLC0415  # imports SQLAlchemy

        config_args, overrides = parser.config_args(args), parser.overrides(args)
        configuration = Configuration(cfg.CONF, binary, config_args, overrides)
        return Master(cfg.CONF, binary, notifier, configuration).run()
    except LauncherError as error:
        notifier.failed(error.exit_status, str(error))
        return complain(binary, error)


def load(binary: str, args: argparse.Namespace) -> None:
    """Read the configuration, and set up logging as it says."""
    config_args = parser.config_args(args)
    config.load(cfg.CONF, binary, config_args, **parser.overrides(args))
    profiling.register(cfg.CONF, contents.sections(contents.read(binary, config_args)))
    log.setup(cfg.CONF, binary)


def complain(binary: str, error: LauncherError) -> int:
    """One sentence on stderr; returns the exit status that goes with it."""
    try:
        sys.stderr.write(f"{log.error_prefix()}{binary}: error: {error}\n")
        sys.stderr.flush()
    except OSError:  # the status says it too, and must not become that of a failed flush at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
    return error.exit_status


def _fill_standard_descriptors() -> None:
    """One that is closed would be given to the next file that is opened, and log lines would be
    written into that file."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def binary_name(script: str) -> str:
    """The name of the service: the script's, or compute-launcher under `python -m launcher`."""
    name = Path(script).name
    return "compute-launcher" if name == "__main__.py" else name.removesuffix(".py")

"""Picks the command. Turns an error into one sentence on stderr and an exit status.

What a command needs is imported when it is known that it is this one.
"""

import argparse
import gc
import sys
from collections.abc import Sequence
from functools import partial

from launcher import blocked_signals, native_threads
from launcher.cli import parser
from launcher.cli.output import guarded
from launcher.directories import locations
from launcher.errors import UsageError


def main(argv: Sequence[str]) -> int:
    """Run the service or a command. Return the exit status.

    :param argv: `argv[0]` is the script's name, which picks topic and manager.
    """
    binary = locations.binary_name(argv[0])
    return guarded(binary, partial(_main, binary, argv[1:]), _end_log)


def _main(binary: str, words: Sequence[str]) -> int:
    grammar = parser.build(binary)
    args = grammar.parse_args(words)
    if args.proof and not hasattr(args, "program"):
        raise UsageError(problem="--proof is for a program, not for a manager")
    if args.command == "completion":
        from launcher.cli import completion  # noqa: PLC0415  # imports shtab

        blocked_signals.unblock()
        return completion.show(grammar, args.shell)
    if name := getattr(args, "program", None):
        from launcher.cli import program  # noqa: PLC0415  # for this alone

        binary = program.binary_of(name)
        program.refuse(args)
    native_threads.forbid_eventlet()
    if args.command is None:
        return _run_service(binary, args)
    blocked_signals.unblock()
    return _run_command(binary, args)


def _run_service(binary: str, args: argparse.Namespace) -> int:
    from launcher.cli import service  # noqa: PLC0415  # imports oslo.config

    if not args.dev:
        return service.run(binary, args)
    native_threads.require()
    from launcher.dev import restarter  # noqa: PLC0415  # the service needs none of it

    return restarter.run(
        binary,
        lambda on_load: guarded(binary, partial(service.run, binary, args, on_load), _end_log),
    )


def _run_command(binary: str, args: argparse.Namespace) -> int:
    from launcher.cli import registry_commands, service  # noqa: PLC0415  # imports oslo.config

    on_registry = args.command.startswith(registry_commands.FAMILIES)
    load_it = partial(service.load, binary, args, command=True, needs_bus=not on_registry)
    if on_registry:
        gc.enable()
        return registry_commands.run(args, load_it)
    native_threads.require()
    from launcher.cli import commands  # noqa: PLC0415  # imports oslo.messaging

    gc.enable()
    return commands.run(binary, args, load_it)


def _end_log() -> None:
    """A wrong command line is told before anything can have been logged."""
    if "launcher.writing.log" in sys.modules:
        from launcher.writing import log  # noqa: PLC0415  # imports oslo.log

        log.end()

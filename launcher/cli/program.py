"""`--program`: runs a foreign program by our master, or says what would be run.

Nothing of oslo may be imported before the program's own module, so this module and what it imports
at its top need no oslo library.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from launcher import blocked_signals
from launcher.cli import common_options, parser
from launcher.directories import locations
from launcher.errors import EventletNeeded, ExitStatus, LauncherError, UsageError
from launcher.program.finding import Program, find, service_of
from launcher.supervise.watch.notify import Notifier
from launcher.writing import outlet

if TYPE_CHECKING:
    from launcher.program.importing import Imported

EVENTLET = "COMPUTE_LAUNCHER_EVENTLET"  # set for the second attempt: it may be imported
SHORTEST = "--p"  # argparse takes this beginning of --program for it
END = "--"  # what follows is the program's command line
SUFFIX = "-launcher"  # of the names of our files and directories for a program
NOT_FOR_PROGRAMS = ("services", "db", "call", "ping", "methods")
NOT_WITH_PROGRAMS = ("manager", "host")  # options
SHOWN_BY_THE_PROGRAM = frozenset({"-h", "--help", "--version"})  # arguments that end its main()
LIBRARIES = ("oslo.service", "cotyledon", "oslo.messaging", "oslo.config", "oslo.log")


def runs_program(argv: Sequence[str]) -> bool:
    """Whether a command line runs or checks a program. Other commands only name one."""
    ours, _ = split(argv)
    if not any(word.startswith(SHORTEST) for word in ours[1:]):
        return False
    try:
        args = parser.build(locations.binary_name(argv[0])).parse_args(ours[1:])
    except LauncherError:
        return True  # `main` says what is wrong
    return hasattr(args, "program") and args.command in {None, "config check"}


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our words, and those of the program."""
    words = list(argv)
    place = words.index(END) if END in words else len(words)
    return words[:place], words[place + 1 :]


def binary_of(name: str) -> str:
    """The name by which our configuration files and directories for a program are found."""
    return f"{service_of(name)}{SUFFIX}"


def refuse(args: argparse.Namespace) -> None:
    """Raise UsageError for a command that a program cannot have."""
    if args.command and args.command.split()[0] in NOT_FOR_PROGRAMS:
        raise UsageError(problem=f"'{args.command}' is not for a program, only for a manager")


def main(argv: Sequence[str]) -> int:
    """Run a program, or check it. Return the exit status. Called with all signals blocked."""
    environment = dict(os.environ)
    os.environ.pop(EVENTLET, None)
    ours, arguments = split(argv)
    script = locations.binary_name(argv[0])
    try:
        args = parser.build(script).parse_args(ours[1:])
        _check_options(args)
    except LauncherError as error:
        return _end_with(script, error)
    if args.command:
        return _check(script, args, arguments, environment)
    if SHOWN_BY_THE_PROGRAM & set(arguments):
        return _show(args.program, arguments, environment)
    outlet.take_over()
    notifier = Notifier.from_environment(os.environ)
    try:
        return _run(args, arguments, environment, notifier)
    except LauncherError as error:
        notifier.failed(error.exit_status, str(error))
        return _end_with(args.program, error)


def _check_options(args: argparse.Namespace) -> None:
    given = [name for name in NOT_WITH_PROGRAMS if getattr(args, name, None)]
    given += ["dev"] if args.dev else []
    if given:
        raise UsageError(problem=f"--{given[0]} is for a manager, not for a program")


def _end_with(name: str, error: LauncherError) -> int:
    from launcher.cli.output import complain  # noqa: PLC0415  # after the program, if it came so far
    from launcher.writing import log  # noqa: PLC0415  # likewise

    log.end()
    complain(name, error)
    return error.exit_status


def _import(
    program: Program, arguments: Sequence[str], environment: Mapping[str, str]
) -> "Imported":
    """Import the program. If it needs eventlet, this process begins anew, and may import it: the
    first attempt has left modules that are half imported.

    :param environment: as it was at the start.
    """
    from launcher.program.importing import import_program  # noqa: PLC0415  # hides eventlet first

    try:
        return import_program(program, arguments, eventlet=EVENTLET in environment)
    except EventletNeeded:
        command = [sys.executable, *sys.orig_argv[1:]]
        os.execve(command[0], command, {**environment, EVENTLET: "1"})


def _show(name: str, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Have the program print what it prints. Return its exit status. There is no fork."""
    blocked_signals.unblock()
    try:
        imported = _import(find(name), arguments, environment)
        from launcher.program.main_function import call_main  # noqa: PLC0415  # after the program

        return call_main(imported)
    except LauncherError as error:
        return _end_with(name, error)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED


def _run(
    args: argparse.Namespace,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    notifier: Notifier,
) -> int:
    imported = _import(find(args.program), arguments, environment)
    # From here on, oslo may be imported: the program has what it needs of it.
    from oslo_config import cfg  # noqa: PLC0415

    from launcher.config import loader  # noqa: PLC0415
    from launcher.program.application import ProgramApplication  # noqa: PLC0415
    from launcher.supervise.master import Master  # noqa: PLC0415
    from launcher.supervise.operations.in_force import Configuration  # noqa: PLC0415
    from launcher.writing import log  # noqa: PLC0415

    service = imported.program.service
    binary = binary_of(args.program)
    config_args, overrides = common_options.config_args(args), common_options.overrides(args)
    conf = cfg.ConfigOpts()  # not the global one: options of the program have the same names
    loader.load(conf, binary, config_args, **overrides)
    log.setup(conf, binary)
    application = ProgramApplication(conf, imported)
    configuration = Configuration(conf, binary, application, config_args, overrides)
    return Master(
        *(conf, service, notifier, configuration, application),
        why_not_upgradable="two versions of a foreign program may not fit side by side",
    ).run()


def _check(
    script: str,
    args: argparse.Namespace,
    arguments: Sequence[str],
    environment: Mapping[str, str],
) -> int:
    """`config check`: say what would be run. The program's `main()` is not called."""
    blocked_signals.unblock()
    try:
        imported = _import(find(args.program), arguments, environment)
        from oslo_config import cfg  # noqa: PLC0415

        from launcher.cli import versions  # noqa: PLC0415
        from launcher.cli.output import complain, print_line  # noqa: PLC0415
        from launcher.config import file_contents, loader, unknown_options  # noqa: PLC0415

        conf = cfg.ConfigOpts()
        config_args, overrides = common_options.config_args(args), common_options.overrides(args)
        loader.load(conf, binary_of(args.program), config_args, **overrides)
        contents = file_contents.read(conf.prog, config_args)
        unknown = unknown_options.sentences(conf, contents)
        for sentence in (*versions.untried(), *unknown):
            complain(script, f"warning: {sentence}")
        for line in _description(imported):
            print_line(line)
        found = file_contents.files(conf.prog, config_args)
        files = ", ".join(found) or "no file of ours, defaults only"
        print_line(f"configuration is valid ({files}); the program checks its own in its start")
    except LauncherError as error:
        return _end_with(script, error)
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED
    return ExitStatus.STOPPED


def _description(imported: "Imported") -> list[str]:
    from importlib import metadata  # noqa: PLC0415  # for this alone

    program = imported.program
    found = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES)
    return [
        f"program: {program.name} ({program.entry.value}), {program.version or 'in no package'}",
        f"its command line: {' '.join(imported.argv)}",
        f"libraries: {found}; each private name that is needed is there",
        f"eventlet: {_use_of_eventlet()}",
    ]


def _use_of_eventlet() -> str:
    if "eventlet" in sys.modules:
        return "it is imported, though nothing is patched and all threads are native ones"
    return "the import of the program does not need it"

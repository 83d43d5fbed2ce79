"""The grammar of the command line."""

import argparse
import threading
from collections.abc import Sequence
from typing import Any, NoReturn

from launcher import __version__
from launcher.errors import UsageError

OVERRIDES = ("workers", "host", "manager", "debug")
# For a list, since a subcommand's would replace the one given before its name.
BETWEEN, AFTER = "_between", "_after"
# What shells complete these with, in shtab's words; a test compares them with shtab.FILE and
# shtab.DIRECTORY, for which shtab would be imported in every start.
COMPLETED = {
    "FILE": {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"},
    "DIR": {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"},
}


class Parser(argparse.ArgumentParser):
    """Complains in one sentence, as everything else here does; its subparsers too."""

    def error(self, message: str) -> NoReturn:
        """:raises UsageError: always."""
        raise UsageError(problem=f"{message}; see '{self.prog} --help'")


def build(binary: str) -> argparse.ArgumentParser:
    """A parser whose result has `command`: None to run, else e.g. "services list".

    :raises UsageError: when it parses what is wrong.
    """
    parser = Parser(
        prog=binary,
        usage="%(prog)s [OPTION ...] [COMMAND ...]",
        description="Run a multi-worker service over oslo.messaging in the foreground, or ask "
        "one that runs. Without a command: run.",
        epilog=f"Every option of the configuration: {binary} config sample. "
        f"More of a command: {binary} COMMAND --help.",
        add_help=False,  # else it would come before the commands
    )
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog=binary)
    _add_service_commands(commands)
    _add_client_commands(commands)
    _add_services(commands)
    _add_config(commands)
    _add_completion(commands)
    options = parser.add_argument_group("options of the service")
    options.add_argument("--workers", type=_count, metavar="N", help="number of worker processes")
    options.add_argument("--manager", metavar="NAME", help="entry point or package.module:Class")
    common = parser.add_argument_group("options of all")
    _add_common(common)
    common.add_argument("-h", "--help", action="help", help="show this, and exit")
    common.add_argument("--version", action="version", version=f"{binary} {__version__}")
    return parser


def config_args(args: argparse.Namespace) -> Sequence[str]:
    """What the command line says of configuration files, in oslo.config's form."""
    given = {"--config-file": "config_file", "--config-dir": "config_dir"}
    return [
        f"{flag}={path}"
        for flag, name in given.items()
        for place in (name, name + BETWEEN, name + AFTER)
        for path in getattr(args, place, [])
    ]


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Options of the configuration that the command line gives a value."""
    given = {name: getattr(args, name, None) for name in OVERRIDES}
    return {name: value for name, value in given.items() if value is not None}


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers, 1 or more")
    return int(text)


def _times(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of times, 1 or more")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < threading.TIMEOUT_MAX:  # which a NaN is not either
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def _slot(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a slot, 0 or more")
    return int(text)


def _add_common(parser: argparse._ActionsContainer, place: str = "") -> None:
    """Options of every command, before or after its name."""
    add = parser.add_argument
    keep: Any = argparse.SUPPRESS  # a subcommand's absent option must not undo the one before it
    for name, value in (("config-file", "FILE"), ("config-dir", "DIR")):
        option: Any = add(
            f"--{name}",
            action="append",
            metavar=value,
            dest=name.replace("-", "_") + place,
            default=keep,
            help="may be repeated",
        )
        option.complete = COMPLETED[value]
    add("--host", metavar="HOST", default=keep, help="name of this host, or of the one to ask")
    add("--debug", action="store_true", default=keep, help="log at DEBUG")


def _command(commands: Any, name: str, full: str, help_: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_, description=help_)
    parser.set_defaults(command=full)
    _add_common(parser, AFTER)
    return parser


def _add_service_commands(commands: Any) -> None:
    status = _command(commands, "status", "status", "show how the service's workers are")
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--watch", action="store_true", help="look each second, until Ctrl-C")
    form.add_argument(
        "--report", type=_slot, metavar="SLOT", help="what a worker is doing, in full: its stacks"
    )
    health = _command(commands, "health", "health", "say whether it serves, for a container")
    health.add_argument("--json", action="store_true", help="print JSON")
    reload = _command(commands, "reload", "reload", "have the service read its configuration anew")
    reload.add_argument(
        "--wait", action="store_true", help="the default: return when it is done, with the verdict"
    )
    scale = _command(commands, "scale", "scale", "have more or fewer workers while it runs")
    scale.add_argument("number", type=_count, metavar="N", help="how many workers")
    restart = _command(
        commands,
        "restart-worker",
        "restart-worker",
        "drain a worker and have another in its place",
    )
    restart.add_argument("slot", type=_slot, metavar="SLOT", help="its number in 'status'")


def _add_client_commands(commands: Any) -> None:
    ping = _command(commands, "ping", "ping", "ask a worker through the bus whether it serves")
    ping.add_argument(
        "--count", type=_times, default=1, metavar="N", help="so many times, one after the other"
    )
    _add_worker(ping)
    _add_timeout(ping)
    call = _command(commands, "call", "call", "call a method of the service, print its answer")
    call.add_argument("method", metavar="METHOD")
    call.add_argument(
        "arguments",
        metavar="name=value",
        nargs="*",
        default=[],  # else argparse calls it required
        help="the value is JSON, else text",
    )
    _add_worker(call)
    _add_timeout(call)


def _add_worker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--worker", type=_slot, metavar="SLOT", help="this one, not just any")


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", type=_seconds, default=10.0, metavar="SECONDS", help="default 10"
    )


def _add_services(commands: Any) -> None:
    services = commands.add_parser("services", help="the registry's services")
    _add_common(services, BETWEEN)
    verbs = services.add_subparsers(title="commands", metavar="COMMAND", required=True)
    show = _command(verbs, "list", "services list", "show all services and whether they are up")
    show.add_argument("--json", action="store_true", help="print JSON")
    for verb in ("enable", "disable", "delete"):
        help_ = f"{verb} a service"
        parser = _command(verbs, verb, f"services {verb}", help_)
        parser.add_argument("--binary", help="default: this script's name")
        if verb == "disable":
            parser.add_argument("--reason", help="shown by 'services list'")


def _add_completion(commands: Any) -> None:
    help_ = "print what makes a shell complete all this"
    completion = _command(commands, "completion", "completion", help_)
    completion.add_argument("shell", choices=("bash", "zsh", "tcsh"))


def _add_config(commands: Any) -> None:
    config = commands.add_parser("config", help="the configuration")
    _add_common(config, BETWEEN)
    verbs = config.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _command(verbs, "check", "config check", "check the configuration, change nothing")
    _command(verbs, "show", "config show", "print what is in force, secrets masked")
    _command(verbs, "sample", "config sample", "print a commented sample of all options")

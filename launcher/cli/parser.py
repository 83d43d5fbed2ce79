"""The grammar of the command line: commands, options and their help texts.

The module is long: it is one list.
"""

import argparse
import re
from typing import Any

from launcher import __version__
from launcher.cli import argument_types, control_grammar, services_grammar
from launcher.cli.common_options import AFTER, BETWEEN, add_common
from launcher.cli.suggesting_parser import SuggestingParser

# What --help of each command shows behind its name.
EXAMPLES = {
    "status": "--watch",
    "health": "--ready",
    "history": "--follow",
    "reload": "--wait",
    "upgrade": "--config-file launcher.conf",
    "scale": "8",
    "restart-worker": "2",
    "debug": "1 --for 600",
    "pause": '--reason "new disks"',
    "resume": "--slot 2",
    "ping": "--count 10 --timeout 2",
    "call": "set_host_enabled enabled=false reason=disks --worker 0",
    "methods": "--json",
    "services list": "--state down --sort age:desc",
    "services enable": "--binary compute-launcher",
    "services disable": '--reason "new disks"',
    "services force-down": "--host node-1",
    "services delete": "--host node-1",
    "db upgrade": "--config-dir ./conf.d",
    "db check": "--json",
    "db history": "--json",
    "config check": "--config-dir ./conf.d",
    "config show": "--config-file new.conf",
    "config sample": "> compute-launcher.conf",
    "completion": "bash > completion.sh",
}
PLATFORMS = ("systemd", "kubernetes", "kolla", "pebble")
SHELLS = ("bash", "zsh", "tcsh")


def build(binary: str) -> argparse.ArgumentParser:
    """Build the parser. Its result has `command`: a name such as "services list", or None to run
    the service.

    :raises UsageError: when it parses a wrong command line.
    """
    parser = SuggestingParser(
        prog=binary,
        usage="%(prog)s [OPTION ...] [COMMAND ...]",
        description="Run a multi-worker service over oslo.messaging in the foreground, or ask "
        "one that runs. Without a command: run.",
        epilog=f"Example: {binary} --workers 4 --manager thermometer:Thermometer. "
        f"Every option of the configuration: {binary} config sample. "
        f"More of a command: {binary} COMMAND --help.",
        add_help=False,  # else it would come before the commands
    )
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", prog=binary)
    control_grammar.add(lambda name, help_: _command(commands, name, name, help_))
    _add_client_commands(commands, binary)
    _add_methods(commands)
    _add_services(commands)
    _add_db(commands)
    _add_config(commands)
    _add_completion(commands)
    options = parser.add_argument_group("options of the service")
    options.add_argument(
        "--workers",
        type=argument_types.count,
        metavar="N",
        help="number of worker processes; default: one for each processor",
    )
    options.add_argument(
        "--manager",
        metavar="NAME",
        help="entry point or package.module:Class; default: the script's name without -launcher",
    )
    options.add_argument(
        "--dev",
        action="store_true",
        help="for developers: one worker, plain tracebacks, and a new start when a source file is "
        "saved; default: the code stays as it is at the start",
    )
    options.add_argument(
        "--no-surge",
        action="store_false",
        dest="surge",
        default=None,
        help="in a reload each worker leaves before its successor starts, for what may run once "
        "on a host only; default: one worker more runs meanwhile",
    )
    options.add_argument(
        "--proof",
        choices=("called", "started"),
        help="when a foreign program serves: called: when each of its RPC servers has answered a "
        "call; started: a program without one, when it has started; default: called",
    )
    common = parser.add_argument_group("options of all commands")
    add_common(common)
    common.add_argument("-h", "--help", action="help", help="show this, and exit")
    common.add_argument("--version", action="version", version=f"{binary} {__version__}")
    _set_root(parser, parser)
    return parser


def _set_root(root: SuggestingParser, parser: Any) -> None:
    for command in (parser.commands or {}).values():
        command.root = root
        _set_root(root, command)


def _command(commands: Any, name: str, full: str, help_: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=help_, description=help_)
    parser.set_defaults(command=full)
    parser.epilog = f"example: {parser.prog} {EXAMPLES[full]}"
    add_common(parser, AFTER)
    return parser


def _add_client_commands(commands: Any, binary: str) -> None:
    ping = _command(commands, "ping", "ping", "ask a worker through the bus whether it serves")
    ping.add_argument(
        "--count",
        type=argument_types.times,
        default=1,
        metavar="N",
        help="number of pings, one after the other; default: 1",
    )
    _add_worker(ping)
    _add_timeout(ping)
    call = _command(commands, "call", "call", "call a method of the service, print its answer")
    method: Any = call.add_argument("method", metavar="METHOD", help="as 'methods' lists it")
    function = methods_function(binary)
    method.complete = {
        "bash": function,
        "zsh": function,
        "tcsh": f"`{binary} methods --names`",
    }
    call.add_argument(
        "arguments",
        metavar="name=value",
        nargs="*",
        default=[],  # else argparse calls it required
        help="an argument of the method; the value is JSON, else text",
    )
    _add_worker(call)
    _add_timeout(call)


def methods_function(binary: str) -> str:
    """The shell function that lists the methods after `call`; `completion` defines it."""
    return f"_{re.sub('[^A-Za-z0-9]', '_', binary)}_methods"


def _add_methods(commands: Any) -> None:
    methods = _command(
        commands, "methods", "methods", "list the methods that 'call' can call, with arguments"
    )
    form = methods.add_mutually_exclusive_group()
    _add_json(form)
    form.add_argument("--names", action="store_true", help="print the names alone")


def _add_json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON; default: text")


def _add_worker(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--worker",
        type=argument_types.slot,
        metavar="SLOT",
        help="ask the worker of this slot; default: any that is free",
    )


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        type=argument_types.seconds,
        default=10.0,
        metavar="SECONDS",
        help="how long to wait for an answer; default: 10",
    )


def _add_services(commands: Any) -> None:
    services = commands.add_parser("services", help="show or change services in the database")
    add_common(services, BETWEEN)
    verbs = services.add_subparsers(title="commands", metavar="COMMAND", required=True)
    services_grammar.add(lambda verb, help_: _command(verbs, verb, f"services {verb}", help_))


def _add_db(commands: Any) -> None:
    db = commands.add_parser("db", help="create or upgrade the tables in the database")
    add_common(db, BETWEEN)
    verbs = db.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _command(verbs, "upgrade", "db upgrade", "create the tables, or upgrade them to this program")
    check = _command(
        verbs,
        "check",
        "db check",
        "check whether a start finds its tables, and which hosts hold back a migration",
    )
    _add_json(check)
    history = _command(verbs, "history", "db history", "list the schemas, and which one it has")
    _add_json(history)


def _add_completion(commands: Any) -> None:
    completion = _command(
        commands, "completion", "completion", "print a script that completes commands in a shell"
    )
    completion.add_argument("shell", choices=SHELLS, help="the shell that reads the script")


def _add_config(commands: Any) -> None:
    config = commands.add_parser("config", help="check or show the configuration")
    add_common(config, BETWEEN)
    verbs = config.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _command(verbs, "check", "config check", "check the configuration, change nothing")
    show = _command(verbs, "show", "config show", "print options as configured, secrets masked")
    show.add_argument(
        "--for",
        dest="platform",
        choices=PLATFORMS,
        help="print the probes and time limits that fit these options, for what runs the service; "
        "default: the options",
    )
    _command(verbs, "sample", "config sample", "print a commented sample of all options")

"""Options of every command: they may stand before and after its name."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# Options of the configuration that the command line sets, with their group, by their name there.
OVERRIDES = {
    "workers": "workers",
    "host": "host",
    "manager": "manager",
    "debug": "debug",
    "surge": "supervision.surge",
    "proof": "health.proof",
}
# argparse replaces a list that was given before a command by the list given after it. So each
# place keeps its own list.
BETWEEN, AFTER = "_between", "_after"
HELP = {
    "FILE": "configuration file, may be repeated; default: "
    "/usr/share/NAME/NAME-dist.conf, then NAME.conf in ~/.NAME, ~, /etc/NAME or /etc, where NAME "
    "is the script's",
    "DIR": "directory of *.conf files, may be repeated; default: NAME.conf.d in the same places",
}
# How a shell completes a value: shtab.FILE and shtab.DIRECTORY. A unit test compares them. An
# import of shtab would slow down each start.
COMPLETED = {
    "FILE": {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"},
    "DIR": {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"},
}


def add_common(parser: argparse._ActionsContainer, place: str = "") -> None:
    """Add the options.

    :param place: "" before the command, else BETWEEN or AFTER.
    """
    add = parser.add_argument
    keep: Any = argparse.SUPPRESS  # without a default, else it would undo the value given before
    for name, value in (("config-file", "FILE"), ("config-dir", "DIR")):
        option: Any = add(
            f"--{name}",
            action="append",
            metavar=value,
            dest=name.replace("-", "_") + place,
            default=keep,
            help=HELP[value],
        )
        option.complete = COMPLETED[value]
    add(
        "--host",
        metavar="HOST",
        default=keep,
        help="name of this host, or of the one to ask; default: this machine's",
    )
    add(
        "--program",
        metavar="NAME",
        default=keep,
        help="console script or module:function of a foreign program, built on oslo.service or "
        "cotyledon; its own command line follows after --; default: a manager runs",
    )
    add("--debug", action="store_true", default=keep, help="log at DEBUG; default: at INFO")


def config_args(args: argparse.Namespace) -> Sequence[str]:
    """Return --config-file and --config-dir as oslo.config takes them.

    Paths are absolute: a reload reads the files again, and a manager may change the current
    directory.
    """
    given = {"--config-file": "config_file", "--config-dir": "config_dir"}
    return [
        f"{flag}={Path(path).expanduser().absolute()}"
        for flag, name in given.items()
        for place in (name, name + BETWEEN, name + AFTER)
        for path in getattr(args, place, [])
    ]


def overrides(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of the configuration that the command line sets."""
    given = {option: getattr(args, name, None) for name, option in OVERRIDES.items()}
    if args.dev:
        given["workers"] = given["workers"] or 1
    return {name: value for name, value in given.items() if value is not None}

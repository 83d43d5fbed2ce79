"""The grammar of the commands that ask the master."""

import argparse
from collections.abc import Callable

from launcher.cli import argument_types

JSON_HELP = "print JSON; default: text"


def add(command: Callable[[str, str], argparse.ArgumentParser]) -> None:
    """Add them.

    :param command: makes the parser of a command, by its name and its help text.
    """
    status = command("status", "show the state of each worker")
    form = status.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help=JSON_HELP)
    form.add_argument(
        "--watch",
        action="store_true",
        help="refresh each second until Ctrl-C, with keys on a terminal; default: once",
    )
    form.add_argument(
        "--report",
        type=argument_types.slot,
        metavar="SLOT",
        help="print the stacks, calls and tasks of one worker; default: a line for each",
    )
    health = command("health", "check whether the service serves; for probes")
    probe = health.add_mutually_exclusive_group()
    for flag, path, help_ in (
        (
            "--live",
            "livez",
            "whether the master lives, whatever bus and workers do; default: whether all is well",
        ),
        ("--started", "startupz", "whether all workers have served once; default: as above"),
        ("--ready", "readyz", "whether calls are answered, by the last probes; default: as above"),
    ):
        probe.add_argument(flag, dest="probe", action="store_const", const=path, help=help_)
    health.add_argument("--json", action="store_true", help=JSON_HELP)
    history = command("history", "list starts, deaths, reloads, outages and the like")
    history.add_argument(
        "--json", action="store_true", help="print a JSON object a line; default: text"
    )
    history.add_argument(
        "--follow", action="store_true", help="also what comes, until Ctrl-C; default: what was"
    )
    reload = command("reload", "read the configuration again and replace the workers")
    reload.add_argument(
        "--wait", action="store_true", help="the default: return when it is done, with the verdict"
    )
    reload.add_argument(
        "--canary",
        type=argument_types.seconds,
        metavar="SECONDS",
        help="first have some workers with the new configuration, and watch them for so long "
        "beside the others; they go back if they do worse ([canary]); default: no watch",
    )
    reload.add_argument(
        "--slots",
        type=argument_types.count,
        metavar="K",
        help="with --canary: how many workers; default: 1",
    )
    command("upgrade", "have a new master of the code on disk take over, without a gap")
    scale = command("scale", "change the number of workers until the next stop")
    scale.add_argument(
        "number",
        type=argument_types.workers,
        metavar="N",
        help="number of workers to have and keep; 'auto': within [supervision] workers_min and "
        "workers_max, as calls wait",
    )
    restart = command("restart-worker", "drain and replace one worker")
    restart.add_argument(
        "slot", type=argument_types.slot, metavar="SLOT", help="its number in 'status'"
    )
    debug = command("debug", "open a debugger in one worker, and say how to connect")
    debug.add_argument(
        "slot", type=argument_types.slot, metavar="SLOT", help="its number in 'status'"
    )
    end = debug.add_mutually_exclusive_group()
    end.add_argument(
        "--for",
        dest="seconds",
        type=argument_types.seconds,
        default=3600.0,
        metavar="SECONDS",
        help="close it after this time; default: 3600",
    )
    end.add_argument("--off", action="store_true", help="close it; default: open it")
    pause = command("pause", "take no more calls until 'resume'; calls wait on the bus")
    resume = command("resume", "take calls again after 'pause'")
    for parser in (pause, resume):
        parser.add_argument(
            "--slot",
            type=argument_types.slot,
            metavar="SLOT",
            help="the worker of this slot alone; default: all workers, also later ones",
        )
    pause.add_argument("--reason", metavar="TEXT", help="shown in STATUS; default: none")
    pause.add_argument(
        "--persist", action="store_true", help="also after a restart; default: until one"
    )

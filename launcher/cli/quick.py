"""The short way to the control socket, for probes: it imports nothing that is heavy.

It takes `health`, `status --json`, `reload`, `scale` and `restart-worker`, if the command line has
no other options than configuration files and directories. The command itself is that of
`control_commands`. Where something is not as simple as it mostly is, this module does nothing, and
the long way does all: another command line, a file that has to be interpreted, no service there.
"""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

from launcher import blocked_signals
from launcher.cli import control_commands
from launcher.cli.control_client import ControlClient
from launcher.cli.output import guarded
from launcher.directories import locations

COMMANDS = {
    "health": control_commands.health,
    "status": control_commands.status,
    "reload": control_commands.reload,
    "scale": control_commands.scale,
    "restart-worker": control_commands.restart_worker,
}
PROBES = {"--live": "livez", "--started": "startupz", "--ready": "readyz"}
NAMED = ("--config-file", "--config-dir")
# Each of them may say where the files are, or what is in them.
VARIABLES = ("OS_DEFAULT__RUNTIME_PATH", "SNAP", "SNAP_COMMON")


class _NotSimple(Exception):
    """The long way has to be taken."""


def run(argv: Sequence[str]) -> int | None:
    """Run a command, if it is one of these. Return its exit status; None: take the long way.

    :param argv: `argv[0]` is the script's name.
    """
    binary = locations.binary_name(argv[0])
    try:
        command, args, named = _parse(argv[1:])
        client = ControlClient(binary, _runtime_path(binary, named), problem=_NotSimple())
    except (_NotSimple, OSError, ValueError):
        return None
    blocked_signals.unblock()
    try:
        return guarded(binary, lambda: COMMANDS[command](client, args))
    except _NotSimple:  # nobody listens: the long way says why
        return None
    finally:
        blocked_signals.block()


def _parse(words: Sequence[str]) -> tuple[str, Any, dict[str, list[str]]]:
    """The command, its arguments as the grammar gives them, and what is named by option.

    :raises _NotSimple: it is none of these commands, or not surely a right one.
    """
    if None in {sys.stdin, sys.stdout, sys.stderr}:
        raise _NotSimple  # a closed one has to be replaced first
    named: dict[str, list[str]] = {name: [] for name in NAMED}
    rest: list[str] = []
    following = iter(words)
    for word in following:
        name, equals, value = word.partition("=")
        if name in NAMED:
            named[name].append(value if equals else next(following, ""))
        else:
            rest.append(word)
    args = _arguments(rest)
    return rest[0], args, named


def _arguments(words: list[str]) -> Any:
    """What the grammar makes of a command and its arguments. Raises _NotSimple."""
    match words:
        case ["health", *flags]:
            return _health(flags)
        case ["status", "--json"]:
            return SimpleNamespace(json=True, watch=False, report=None)
        case ["reload"] | ["reload", "--wait"]:
            return SimpleNamespace(canary=None, slots=None)
        case ["scale", number] if number.isdecimal() and int(number):
            return SimpleNamespace(number=int(number))
        case ["restart-worker", number] if number.isdecimal():
            return SimpleNamespace(slot=int(number))
    raise _NotSimple


def _health(flags: list[str]) -> Any:
    """The arguments of `health`. Raises _NotSimple."""
    asked = [PROBES[flag] for flag in flags if flag in PROBES]
    if len(asked) > 1 or len(flags) > len(asked) + flags.count("--json"):
        raise _NotSimple
    return SimpleNamespace(json="--json" in flags, probe=asked[0] if asked else None)


def _runtime_path(binary: str, named: dict[str, list[str]]) -> str:
    """As `loader.runtime_path`, if a look at the files is enough.

    :raises _NotSimple: it is not. :raises OSError, ValueError: a file cannot be read.
    """
    if any(name in os.environ for name in VARIABLES):
        raise _NotSimple
    found = locations.runtime_path(os.environ, binary)
    for file in _files(binary, named):
        if not os.path.isfile(file):  # noqa: PTH113
            raise _NotSimple  # a pipe can be read once only, and the long way reads it too
        with open(file, encoding="utf-8") as opened:
            text = opened.read()
        if "config_source" in text:  # it may be set by another source than a file
            raise _NotSimple
        found = _setting(text) or found
    if not _is_plain(found):
        raise _NotSimple
    return found


def _files(binary: str, named: dict[str, list[str]]) -> Iterator[str]:
    """As oslo.config finds them, in its order: the last one outranks the others, and what is named
    comes after what is found."""
    files, directories = (list(map(os.path.expanduser, named[name])) for name in NAMED)
    home = os.path.expanduser("~")  # noqa: PTH111  # Path.home() raises
    places = [f"{home}/.{binary}", home, f"/etc/{binary}", "/etc"]
    if not files:
        yield from locations.shipped_files(binary)
        yield from _first(f"{place}/{binary}.conf" for place in places)
    if not directories:
        yield from _in(_first(f"{place}/{binary}.conf.d" for place in places))
    yield from files
    yield from _in(directories)


def _in(directories: Iterable[str]) -> Iterator[str]:
    for directory in directories:
        for name in sorted(os.listdir(directory)):  # noqa: PTH208
            if name.endswith(".conf") and not name.startswith("."):
                yield f"{directory}/{name}"


def _first(paths: Iterator[str]) -> list[str]:
    return [path for path in paths if os.path.exists(path)][:1]  # noqa: PTH110


def _setting(text: str) -> str | None:
    """The runtime_path that a file sets; None: it sets none.

    :raises _NotSimple: it is set in a way that oslo.config has to interpret.
    """
    if "runtime_path" not in text:
        return None
    section, found, before = "", None, ""
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip()
        elif before == "runtime_path" and line[:1].isspace() and line.strip():
            raise _NotSimple  # a value of several lines
        key, sign, value = line.partition("=")
        before = key.strip()
        if before == "runtime_path" and sign:
            found = value.strip()
            if section != "[DEFAULT]" or line != line.lstrip() or not _is_plain(found):
                raise _NotSimple
        elif before.startswith("runtime_path"):
            raise _NotSimple
    return found


def _is_plain(path: str) -> bool:
    """Whether it is an absolute path in which oslo.config interprets nothing."""
    return path.startswith("/") and path.isprintable() and not set("$\"'") & set(path)

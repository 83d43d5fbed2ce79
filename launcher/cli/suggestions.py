"""Answers to a wrong command line: the nearest command or option, and what to do instead of a
command that only other launchers have. Pure."""

import difflib
from collections.abc import Iterable, Sequence

# Commands of other launchers. `{binary}` is the name of the service.
INSTEAD = {
    "run": "without a command the service runs, in the foreground",
    "start": "without a command the service runs, in the foreground; under systemd: "
    "systemctl start {binary}",
    "stop": "press Ctrl-C where it runs, or send SIGTERM to the pid in 'status --json'; under "
    "systemd: systemctl stop {binary}",
    "restart": "'reload' takes a new configuration, 'restart-worker SLOT' replaces a worker; new "
    "code needs a stop and a start; under systemd: systemctl restart {binary}",
}


def unknown_command(binary: str, word: str, commands: Iterable[str]) -> str:
    """Part of a sentence about an unknown command."""
    if word in INSTEAD:
        return f"there is no command {word!r}: {INSTEAD[word].format(binary=binary)}"
    known = list(commands)
    return f"there is no command {word!r}; {_meant(word, known) or _all('commands', known)}"


def unknown_option(name: str, options: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """Part of a sentence about an unknown option.

    :param options: the options that are allowed in its place.
    :param elsewhere: the options that stand before the command.
    """
    if name in set(elsewhere):
        return f"{name} has to stand before the command"
    meant = _meant(name, list(options))
    return f"there is no option {name} here{f'; {meant}' if meant else ''}"


def _meant(word: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {found[0]}?" if found else ""


def _all(what: str, known: Sequence[str]) -> str:
    return f"{what}: {', '.join(known)}"

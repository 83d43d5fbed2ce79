"""An ArgumentParser that refuses a wrong command line in one sentence, with a suggestion."""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NoReturn

from launcher.errors import UsageError

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


class SuggestingParser(argparse.ArgumentParser):
    """Looks for unknown commands and options before argparse does: argparse would take the value
    of a misspelt option for a command."""

    root: "SuggestingParser | None" = None  # of a command's parser: the one for the whole line
    commands: Mapping[str, argparse.ArgumentParser] | None = None

    def add_subparsers(self, **settings: Any) -> Any:
        """As argparse's; also keeps the commands."""
        action: Any = super().add_subparsers(**settings)
        self.commands = action.choices
        return action

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's, which calls it for each command too.

        :raises UsageError: there is no such option or command.
        """
        self._check(list(sys.argv[1:] if args is None else args))
        return super().parse_known_args(args, namespace)

    def _check(self, words: list[str]) -> None:
        rest = iter(words)
        for word in rest:
            name, equals, _ = word.partition("=")
            if word == "--":
                return
            if not word.startswith("-"):
                if self.commands is None:
                    if not self._takes_words():
                        hint = "; a host is given by --host" if " services " in self.prog else ""
                        self.error(f"{word!r} is one argument too many{hint}")
                    continue  # an argument of a command
                self._check_command(word)
                return
            action = self._option(name)
            if action is None and word.startswith("--"):
                others = self.root._option_string_actions if self.root else ()
                known = [one for one in self._option_string_actions if one.startswith("--")]
                self.error(_unknown_option(name, known, others))
            if action is not None and action.nargs is None and not equals:
                next(rest, None)  # its value

    def _takes_words(self) -> bool:
        return any(not action.option_strings for action in self._actions)

    def _check_command(self, word: str) -> None:
        if word not in (self.commands or {}):
            binary = self.prog.partition(" ")[0]
            self.error(_unknown_command(binary, word, self.commands or {}))

    def _option(self, name: str) -> argparse.Action | None:
        """The option with this name. The beginning of a name is enough, as for argparse."""
        known = self._option_string_actions
        begun = (action for option, action in known.items() if option.startswith(name))
        return known.get(name) or next(begun, None)

    def error(self, message: str) -> NoReturn:
        """:raises UsageError: always."""
        see = " See" if message.endswith("?") else "; see"
        raise UsageError(problem=f"{message}{see} '{self.prog} --help'")


def _unknown_command(binary: str, word: str, commands: Iterable[str]) -> str:
    """Part of a sentence about an unknown command."""
    if word in INSTEAD:
        return f"there is no command {word!r}: {INSTEAD[word].format(binary=binary)}"
    known = list(commands)
    return f"there is no command {word!r}; {_meant(word, known) or _all('commands', known)}"


def _unknown_option(name: str, options: Iterable[str], elsewhere: Iterable[str] = ()) -> str:
    """Part of a sentence about an unknown option.

    :param options: the options that are allowed in its place.
    :param elsewhere: the options that stand before the command.
    """
    if name in set(elsewhere):
        return f"{name} has to stand before the command"
    meant = _meant(name, list(options))
    return f"there is no option {name} here{f'; {meant}' if meant else ''}"


def _meant(word: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415  # the service needs none of it

    found = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {found[0]}?" if found else ""


def _all(what: str, known: Sequence[str]) -> str:
    return f"{what}: {', '.join(known)}"

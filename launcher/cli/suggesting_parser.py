"""An ArgumentParser that refuses a wrong command line in one sentence, with a suggestion."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from launcher.cli.suggestions import unknown_command, unknown_option
from launcher.errors import UsageError


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
                    continue  # an argument of a command
                self._check_command(word)
                return
            action = self._option(name)
            if action is None and word.startswith("--"):
                others = self.root._option_string_actions if self.root else ()
                known = [one for one in self._option_string_actions if one.startswith("--")]
                self.error(unknown_option(name, known, others))
            if action is not None and action.nargs is None and not equals:
                next(rest, None)  # its value

    def _check_command(self, word: str) -> None:
        if word not in (self.commands or {}):
            binary = self.prog.partition(" ")[0]
            self.error(unknown_command(binary, word, self.commands or {}))

    def _option(self, name: str) -> argparse.Action | None:
        """The option with this name. The beginning of a name is enough, as for argparse."""
        known = self._option_string_actions
        begun = (action for option, action in known.items() if option.startswith(name))
        return known.get(name) or next(begun, None)

    def error(self, message: str) -> NoReturn:
        """:raises UsageError: always."""
        see = " See" if message.endswith("?") else "; see"
        raise UsageError(problem=f"{message}{see} '{self.prog} --help'")

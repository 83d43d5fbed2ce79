"""The man pages beside this: texts from *.in, and in the place of a line `@NAME@` what the program
knows of itself, from the parser behind --help and the options behind `config sample`.

`make man` writes them. Plain man(7), since the grammar of subcommands within subcommands and the
facts of an option have no form in the generators of man pages that there are.
"""

import argparse
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from oslo_config import cfg

from launcher import __version__
from launcher.cli import parser
from launcher.config.options import GROUPS

BINARY = "compute-launcher"
PAGES = Path(__file__).parent
NAMES = (f"{BINARY}.1", f"{BINARY}.conf.5", f"{BINARY}.7")
WIDTH = 75  # of a line in the source
BREAK = r"|\:"  # between choices; groff may begin a new line there
ESCAPES = str.maketrans(
    {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti"}
)


def write() -> None:
    """All pages, as they are to be now."""
    for name in NAMES:
        (PAGES / name).write_text(make_page(name), encoding="utf-8")


def make_page(name: str) -> str:
    """The same text for the same sources, on whatever machine."""
    return "".join(f"{line}\n" for line in _lines(PAGES / f"{name}.in"))


def _lines(source: Path) -> Iterator[str]:
    grammar = parser.build(BINARY)
    known = {
        "@DESCRIPTION@": lambda: sentences(str(grammar.description)),
        "@COMMANDS@": lambda: _commands(grammar, set(grammar._option_string_actions)),
        "@OPTIONS@": lambda: _option_groups(grammar),
        "@GROUPS@": _groups,
    }
    for line in source.read_text(encoding="utf-8").splitlines():
        if line in known:
            yield from known[line]()
        else:
            yield line.replace("@VERSION@", escape(__version__))


def _commands(grammar: argparse.ArgumentParser, known: set[str], words: str = "") -> Iterator[str]:
    """Each command with its own options; those in `known` are told elsewhere."""
    subparsers = [one for one in grammar._actions if isinstance(one, argparse._SubParsersAction)]
    for action in subparsers:
        for name, command in action.choices.items():
            yield from _commands(command, known, f"{words}{name} ")
    if words and not subparsers:
        own = [action for action in grammar._actions if not known & {*action.option_strings}]
        yield ".TP"
        yield " ".join([bold(words.strip()), *_synopsis(grammar, own)])
        yield from sentences(str(grammar.description))
        if told := [*_actions(own)]:
            yield from (".RS", *told, ".RE")


def _synopsis(command: argparse.ArgumentParser, actions: Iterable[argparse.Action]) -> list[str]:
    """As in a usage; of options that exclude each other all stand where the first one would."""
    exclusive = {
        action: group._group_actions
        for group in command._mutually_exclusive_groups
        for action in group._group_actions
    }
    parts = []
    for action in actions:
        together = exclusive.get(action, [action])
        text = " | ".join(map(_invocation, together))
        if action is together[0]:
            parts.append(f"[{text}]" if action.option_strings or action.nargs == "*" else text)
    return parts


def _option_groups(grammar: argparse.ArgumentParser) -> Iterator[str]:
    for group in grammar._action_groups:
        options = [action for action in group._group_actions if action.option_strings]
        if options:
            yield f".SS {escape((group.title or '').capitalize())}"
            yield from _actions(options)


def _actions(actions: Iterable[argparse.Action]) -> Iterator[str]:
    for action in actions:
        if action.help:
            yield ".TP"
            yield _invocation(action)
            yield from sentences(action.help)


def _invocation(action: argparse.Action) -> str:
    """What somebody types, as `--count N` or `name=value ...`."""
    names = ", ".join(map(bold, action.option_strings))
    if action.nargs == 0:
        return names
    if action.choices is not None:
        return f"{names} {BREAK.join(map(bold, action.choices))}".strip()
    value = italic(str(action.metavar or action.dest.upper()))
    return f"{names} {value}{' ...' if action.nargs == '*' else ''}".strip()


def _groups() -> Iterator[str]:
    for group, options in GROUPS.items():
        yield f".SS [{escape(group or 'DEFAULT')}]"
        for option in options:
            yield ".TP"
            yield f"{bold(option.dest)} ({escape(', '.join(_facts(option)))})"
            yield from sentences(str(option.help))
            if default := _default(option):
                yield f"Default: {italic(default)}."


def _facts(option: cfg.Opt) -> Iterator[str]:
    yield option.type.type_name.removesuffix(" value")
    least, most = (getattr(option.type, name, None) for name in ("min", "max"))
    if least is not None and most is not None:
        yield f"{least} to {most}"
    elif least is not None:
        yield f"{least} or more"
    elif most is not None:
        yield f"{most} or less"
    if choices := getattr(option.type, "choices", None):
        yield f"one of {' '.join(map(str, choices))}"
    if option.mutable:
        yield "mutable"
    if option.secret:
        yield "secret"


def _default(option: cfg.Opt) -> str:
    """As the sample has it; nothing when there is none, or an empty one."""
    values = option.type.format_defaults(option.default, option.sample_default)
    return ", ".join(value for value in values if value != "<None>")


def sentences(text: str) -> Iterator[str]:
    """Each begins a line, so that the formatter knows where one ends."""
    text = f"{text[0].upper()}{text[1:].removesuffix('.')}."
    for sentence in re.split(r"(?<=\.) (?=[A-Z0-9])", text):
        for line in textwrap.wrap(sentence, WIDTH, break_on_hyphens=False, break_long_words=False):
            yield escape(line)


def bold(text: str) -> str:
    return rf"\fB{escape(text)}\fR"


def italic(text: str) -> str:
    return rf"\fI{escape(text)}\fR"


def escape(text: str) -> str:
    """Text that is printed as it is, its hyphens and quotes fit to be copied into a shell."""
    text = text.translate(ESCAPES)
    return rf"\&{text}" if text.startswith(".") else text


if __name__ == "__main__":
    write()

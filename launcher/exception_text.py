"""The text of an exception as a part of one sentence, for messages and log lines."""

import re
from collections.abc import Iterator
from itertools import islice

from launcher.foreign_text import fit

TOLD_CHARACTERS = 2000  # of an exception's text; in a group, of each leaf
LEAVES = 5  # the most that are told of a group
REMOTE = "_Remote"  # oslo.messaging appends it to the class name of an error from another process

# oslo.messaging appends the traceback to the text of such an error. In a group a plus precedes it.
_TRACEBACK = r"\n[ +|A-Za-z]*Traceback \(most recent call last\)"


def one_line(error: BaseException) -> str:
    """The text of an exception; if it has none, the result of `reason`. Raises nothing."""
    return _text(error) or reason(error)


def reason(error: BaseException) -> str:
    """The type and text of an exception, and of each leaf of a group. Only the text, if the class
    says `is_sentence`. Raises nothing, even if the exception's own code does."""
    text = _text(error)
    if text and getattr(type(error), "is_sentence", False):
        return text
    name = type(error).__name__.removesuffix(REMOTE)
    return fit(f"{name}: {text}" if text else name)


def _text(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return fit(f"{_joined(error.message)} ({_leaves(error)})".strip())
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  # foreign code may raise anything
        return ""
    first = next(iter(error.args), None)
    if isinstance(first, str) and re.search(_TRACEBACK, first):
        text = first  # str() of a KeyError is the repr
    return fit(_joined(re.split(_TRACEBACK, text, maxsplit=1)[0])).rstrip(".")


def _leaves(group: BaseExceptionGroup[BaseException]) -> str:
    leaves = list(_walk(group))
    told = [reason(leaf) for leaf in islice(leaves, LEAVES)]
    rest = [f"{len(leaves) - LEAVES} more"] if len(leaves) > LEAVES else []
    return "; ".join([*told, *rest])


def _walk(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _walk(inner)
    else:
        yield error


def _joined(text: str) -> str:
    return " ".join(text[:TOLD_CHARACTERS].split())

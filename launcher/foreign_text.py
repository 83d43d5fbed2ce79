"""Makes foreign text fit for one line: in a log, in STATUS, on a screen, on stderr.

Foreign text comes from a client of the bus, a manager's exception or a row of the database. A line
feed in it could forge a log line. An escape sequence could command the terminal.
"""

import re
from collections.abc import Callable

LINE_CHARACTERS = 8000  # of one line
LINES = 2000  # of one block, such as a traceback
BLOCK_LINE_CHARACTERS = 2000  # of one line of a block
CONTINUED = "| "  # before each line of a log record except the first
CUT = "…"

# Control characters (C0, DEL, C1), line and paragraph separators, marks that change the direction
# of text, and surrogates, which UTF-8 cannot encode.
_UNFIT = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNFIT_PATTERN = f"[{_UNFIT}]"  # compiled at the first use: that takes longer than a probe should
_NAMED = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def fit(text: str, limit: int = LINE_CHARACTERS) -> str:
    """The text as one line. Unfit characters are replaced by escapes such as `\\x1b`.

    :param limit: characters; a longer text is cut and ends in an ellipsis.
    """
    found = _replace(_escape, text[: limit + 1])
    return found if len(found) <= limit else found[: limit - len(CUT)] + CUT


def fit_block(text: str) -> list[str]:
    """The lines of a text, each made fit; of more than LINES, the first and the last ones."""
    lines = text.split("\n")
    if len(lines) > LINES:
        left_out = f"{CUT} {len(lines) - LINES} lines {CUT}"
        lines = [*lines[: LINES // 2], left_out, *lines[-LINES // 2 :]]
    return [fit(line, BLOCK_LINE_CHARACTERS) for line in lines]


def fit_json(text: str) -> str:
    """JSON with the same meaning and no unfit characters except line feeds. JSON has no others
    outside its strings."""
    return "\n".join(_replace(_escape_for_json, line) for line in text.split("\n"))


def fit_record(line: str, more: str) -> str:
    """A log record: its first line, and the lines of a traceback. Those have a mark, so that none
    looks like the first line of a record."""
    first = fit(line)
    if first.startswith(CONTINUED[0]):
        first = f"\\x{ord(CONTINUED[0]):02x}{first[1:]}"
    marked = [CONTINUED + each for each in fit_block(more)] if more else []
    return "\n".join([first, *marked])


def _replace(escape: Callable[[re.Match[str]], str], text: str) -> str:
    plain = text.isascii() and text.isprintable()
    return text if plain else re.sub(_UNFIT_PATTERN, escape, text)


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    code = ord(character)
    return _NAMED.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def _escape_for_json(match: re.Match[str]) -> str:
    return f"\\u{ord(match.group()):04x}"

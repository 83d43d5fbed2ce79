"""Output of commands: lines, text and JSON on stdout, one sentence on stderr."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from typing import Any

from launcher.errors import ExitStatus, LauncherError, OutputLost
from launcher.foreign_text import fit, fit_block, fit_json
from launcher.task_shortage import told
from launcher.writing import journal


def print_line(text: str) -> None:
    """Print one line of any text to stdout, and flush.

    :raises OutputLost: it cannot be written, to a full disk for instance.
    """
    print_text(fit(text))


def print_block(text: str) -> None:
    """Print several lines of any text, made fit for a terminal. Raises OutputLost."""
    print_text("\n".join(fit_block(text)))


def print_json(value: Any, *, sort_keys: bool = False) -> None:
    """Print indented JSON. Raises OutputLost."""
    text = json.dumps(value, indent=2, ensure_ascii=False, sort_keys=sort_keys)
    print_text(fit_json(text))


def print_text(text: str) -> None:
    """Print text that is fit for a terminal already. Raises OutputLost."""
    print_lines([text])


def print_lines(lines: Iterable[str]) -> None:
    """Print lines that are fit for a terminal already, and flush. Raises OutputLost."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        for line in lines:
            sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise output_lost(error) from error


def output_lost(error: OSError) -> OutputLost:
    """The error to raise. Discards stdout's buffer: Python would write it again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return OutputLost(reason=error.strerror)


def complain(binary: str, problem: object) -> None:
    """Print an error to stderr as one sentence; or a warning, if it begins with "warning: "."""
    text = str(problem)
    kind = "" if text.startswith("warning: ") else "error: "
    line = f"{binary}: {kind}{text}"
    try:
        sys.stderr.write(f"{journal.error_prefix()}{fit(line)}\n")
        sys.stderr.flush()
    except OSError:  # a failed flush at exit would change the exit status
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def guarded(
    binary: str, command: Callable[[], int], end_log: Callable[[], object] = lambda: None
) -> int:
    """Run a command. Return its exit status; that of an error, after its sentence on stderr.

    :param end_log: called before the sentence, so that it is the last line.
    """
    try:
        with told("no thread can be started"):
            return command()
    except LauncherError as error:
        end_log()
        complain(binary, error)
        return error.exit_status
    except BrokenPipeError:  # the reader of our output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitStatus.STOPPED
    except KeyboardInterrupt:
        return ExitStatus.INTERRUPTED

"""Types of command-line arguments. Each raises ArgumentTypeError with a sentence."""

import argparse
import threading


def count(text: str) -> int:
    """A number of workers."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of workers, 1 or more")
    return int(text)


def workers(text: str) -> int | str:
    """A number of workers, or the word that lets it follow the demand."""
    return text if text == "auto" else count(text)


def times(text: str) -> int:
    """A number of repetitions."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of times, 1 or more")
    return int(text)


def seconds(text: str) -> float:
    """A time limit in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < threading.TIMEOUT_MAX:  # false for NaN, too
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def slot(text: str) -> int:
    """The number of a worker's slot."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a slot, 0 or more")
    return int(text)

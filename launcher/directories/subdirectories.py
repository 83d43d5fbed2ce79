"""Descriptors of a directory's subdirectories, kept open, since every message needs one."""

import errno
import os
from collections.abc import Callable
from typing import TypeVar

from launcher.directories.system_calls import PART_FLAGS, opener

MOST_KEPT = 32  # descriptors

T = TypeVar("T")


class Subdirectories:
    """Opens the subdirectories of an open directory, by names relative to it. Any thread; a forked
    child may use its copy."""

    def __init__(self, directory: int) -> None:
        """:param directory: a descriptor; its owner closes it."""
        self._directory = directory
        self._kept: dict[str, _Descriptor] = {}

    def forget(self) -> None:
        """Open every subdirectory anew from now on."""
        self._kept = {}

    def in_parent(self, name: str, act: Callable[[int, str], T]) -> T:
        """Call `act` with the descriptor of the directory that `name` is in, and with the last
        part of the name; returns its result."""
        where, _, last = name.rpartition("/")
        kept = self._kept.get(where)
        if kept is not None:
            try:
                return act(kept.number, last)
            except FileNotFoundError:  # the directory may have been removed and created again
                self._kept.pop(where, None)
        kept = _Descriptor(self.open_directory(where or "."))
        if len(self._kept) >= MOST_KEPT:
            self._kept = {}
        self._kept[where] = kept
        return act(kept.number, last)

    def in_both(self, old: str, new: str, act: Callable[[int, str, int, str], T]) -> T:
        """The same for two names."""
        return self.in_parent(
            old,
            lambda source, last: self.in_parent(
                new, lambda target, name: act(source, last, target, name)
            ),
        )

    def open_directory(self, name: str, flags: int = PART_FLAGS) -> int:
        """A new descriptor of a subdirectory; the caller closes it.

        :raises NotADirectoryError: a part of the name is no directory, or is a link.
        """
        try:
            return opener()(self._directory, name, flags, 0)
        except OSError as error:
            if error.errno == errno.ELOOP:  # a link
                raise NotADirectoryError(
                    errno.ENOTDIR, os.strerror(errno.ENOTDIR), name
                ) from error
            raise


class _Descriptor:
    """Closed when no thread uses it any more."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)

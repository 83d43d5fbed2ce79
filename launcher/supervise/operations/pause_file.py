"""What is paused, and the file in the state directory by which that outlives a restart."""

import json
import logging
import os
from collections.abc import Iterable
from contextlib import closing
from typing import NamedTuple, Self

from launcher.directories.beneath import Beneath
from launcher.errors import PauseUnreadable, PauseUnwritable

LOG = logging.getLogger(__name__)

FILE = "paused.json"
MOST_BYTES = 1 << 16


class Pauses(NamedTuple):
    """What is paused. False: nothing.

    :ivar everyone: all workers are, also later ones.
    """

    everyone: bool = False
    slots: frozenset[int] = frozenset()
    reason: str = ""

    def __bool__(self) -> bool:
        return self.everyone or bool(self.slots)

    def with_pause(self, slot: int | None, reason: str) -> Self:
        """:param slot: None: all workers."""
        if slot is None:
            return self._replace(everyone=True, reason=reason)
        return self._replace(slots=self.slots | {slot}, reason=reason or self.reason)

    def without_pause(self, slot: int | None, slots: Iterable[int]) -> Self:
        """:param slots: all that there are: after a pause of all, the others stay paused."""
        if slot is None:
            return type(self)()
        left = (self.slots | set(slots) if self.everyone else self.slots) - {slot}
        return type(self)(slots=left, reason=self.reason if left else "")


class PauseFile:
    """One a master; used by one thread at a time."""

    def __init__(self, state_path: str) -> None:
        self._directory = state_path

    def read(self) -> Pauses:
        """Return the pauses that persist.

        :raises PauseUnreadable: the file is damaged, or belongs to another user.
        """
        try:
            with closing(Beneath.open_path(self._directory)) as directory:
                text = directory.read(FILE, MOST_BYTES, frozenset({os.geteuid()}))
            found = json.loads(text)
            slots = frozenset(int(slot) for slot in found["slots"])
            return Pauses(bool(found["everyone"]), slots, str(found["reason"]))
        except FileNotFoundError:
            return Pauses()
        except (OSError, ValueError, KeyError, TypeError) as error:
            path = f"{self._directory}/{FILE}"
            raise PauseUnreadable(path=path, reason=str(error)) from error

    def write(self, pauses: Pauses) -> None:
        """Keep these, and no others. Raises PauseUnwritable."""
        draft, found = f".{FILE}", pauses._asdict() | {"slots": sorted(pauses.slots)}
        try:
            with closing(Beneath.open_path(self._directory)) as directory:
                directory.remove(draft)  # left by one that was killed
                if not pauses:
                    directory.remove(FILE)
                    return
                directory.write_new(draft, json.dumps(found).encode("ascii"))
                directory.rename(draft, FILE)
        except OSError as error:
            path = f"{self._directory}/{FILE}"
            raise PauseUnwritable(path=path, reason=error.strerror) from error

"""Creating the directories of a path."""

import os
from contextlib import suppress
from pathlib import Path

from launcher.directories import ownership
from launcher.directories.beneath import Beneath


def make_missing(path: Path) -> frozenset[int]:
    """Create a directory and its missing parents, with mode 0700 whatever the umask is. A link
    that appears on the way meanwhile is not followed.

    :returns: other users who could replace the directory. Then nothing is created.
    """
    place = ownership.nearest(path)
    reached = ownership.reach(str(place))
    there = Beneath(reached.descriptor, str(place))
    try:
        rulers = reached.rulers if place == path else ownership.rulers_below(reached)
        if strangers := rulers - {os.geteuid()}:
            return strangers
        parts = path.relative_to(place).parts
        for end in range(1, len(parts) + 1):
            with suppress(FileExistsError):  # another process was faster; the caller checks it
                there.make("/".join(parts[:end]))
        return frozenset()
    finally:
        there.close()

"""The directory that is the bus: making it, checking it, and whom to trust in it.

    peers/ID          a file that process ID keeps locked while it lives
    peers/ID.sock     the socket for replies to it
    replies/ID/       replies that are too large for a datagram
    held/ID.N         what a listener of process ID took from a pipe: see `journal`
    queues/NAME/      new/ cur/ wake calls: messages to a topic, or to one server of it
    fanout/NAME/ID.N/ the same, for one listener
    swept             its time is that of the last sweep; listeners keep a lock on it
    watched           who watches for deaths: see `watchers`

The directory has mode 0700. Only processes of its owner use it: root too would follow the files
that the owner puts there. A command that root runs becomes the owner first (see
`launcher.directories.privileges`).
"""

# Plain system calls, for speed: every message uses them.

import os
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from oslo_messaging._drivers.base import TransportDriverError

from launcher.directories import ownership
from launcher.directories.beneath import Beneath
from launcher.directories.creation import make_missing

PARTS = ("peers", "replies", "held", "queues", "fanout")


class BusDirectory(Beneath):
    """A checked directory. `trusted`: the user ids whose messages and replies are accepted."""

    trusted: frozenset[int] = frozenset()

    def ensure(self, name: str, *children: str, fifos: Iterable[str] = ()) -> None:
        """Make a directory with its children and FIFOs. It appears complete or not at all. Does
        nothing if it is there already."""
        if self.is_directory(name):
            return
        parent, _, last = name.rpartition("/")
        draft = f"{parent or '.'}/.{last[:100]}.{os.getpid()}-{secrets.token_hex(4)}"
        try:
            self.make(draft)
            for child in children:
                self.make(f"{draft}/{child}")
            for fifo in fifos:
                self.make_fifo(f"{draft}/{fifo}")
            self.rename_new(draft, name)
        except OSError:
            with suppress(OSError):  # the first error counts
                self.remove(draft)
            if not self.is_directory(name):  # no sibling was faster
                raise

    def read_trusted(self, name: str, limit: int) -> bytes:
        """Read a file of this user or of a trusted one, of at most `limit` bytes.

        :raises Untrusted: it must not be read. :raises OSError: it cannot be read.
        """
        return self.read(name, limit, frozenset({os.geteuid()}) | self.trusted)


def open_directory(path: str, trusted: Iterable[int] = ()) -> BusDirectory:
    """Make the directory if there is none, check it, and make its parts.

    :param trusted: user ids to trust instead of our own; empty: our own.
    :raises TransportDriverError: this process may not use it; the text says why.
    :raises OSError: it cannot be made.
    """
    if not os.path.lexists(path):
        _make_root(path)
    directory = _open_checked(path, frozenset(trusted))
    try:
        for part in PARTS:
            directory.ensure(part)
    except BaseException:
        directory.close()
        raise
    return directory


def _make_root(path: str) -> None:
    above = _open_above(path)
    try:
        above.ensure(Path(path).name)
    finally:
        above.close()


def _open_above(path: str) -> BusDirectory:
    """Open the parent directory; make it if there is none."""
    parent = Path(path).parent
    strangers = make_missing(parent)
    if not strangers:
        reached = ownership.reach(str(parent))
        try:
            strangers = ownership.rulers_below(reached) - {os.geteuid()}
            if not strangers:
                return BusDirectory.hold(reached.descriptor, str(parent))
        finally:
            os.close(reached.descriptor)
    names = ownership.names_of(strangers, ownership.way_to(path))
    raise TransportDriverError(f"bus directory {path} would not be safe: {names} can replace it")


def _open_checked(path: str, trusted: frozenset[int]) -> BusDirectory:
    """Open the directory that is there. :raises TransportDriverError: we may not use it."""
    reached = _reach(path)
    try:
        _check(path, reached, os.geteuid())
        directory = BusDirectory.hold(reached.descriptor, path)
    finally:
        os.close(reached.descriptor)
    directory.trusted = frozenset({0}) | (trusted or {os.geteuid()})
    return directory


def check_directory(path: str, *, for_owner: bool = False) -> None:
    """Raise TransportDriverError where `open_directory` would. The directory has to exist.

    :param for_owner: root only: judge as if this process were the owner's.
    """
    reached = _reach(path)
    os.close(reached.descriptor)
    _check(path, reached, reached.uid if for_owner and os.geteuid() == 0 else os.geteuid())


def _reach(path: str) -> ownership.Reached:
    try:
        if not os.path.islink(path):  # noqa: PTH114  # a link higher up is fine
            return ownership.reach(path)
    except NotADirectoryError:
        pass
    raise TransportDriverError(f"bus directory {path} is not a directory")


def _check(path: str, reached: ownership.Reached, user: int) -> None:
    if reached.uid != user:
        raise TransportDriverError(
            f"bus directory {path} belongs to user {reached.uid}, and this process is user "
            f"{user}: run it as that user, or give another directory"
        )
    if reached.mode & 0o077:
        raise TransportDriverError(
            f"bus directory {path} is open to others (mode {reached.mode:04o}); chmod 0700 it"
        )
    if reason := ownership.why_not_ours(reached, user):
        raise TransportDriverError(f"bus directory {path} is not safe: {reason}")

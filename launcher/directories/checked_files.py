"""Judging an open file by its descriptor: whether it may be read, or used as a lock."""

import os
import stat


class Untrusted(OSError):
    """The file must not be read: it is no regular file, too large, or another user's."""


def read_trusted(descriptor: int, limit: int, owners: frozenset[int]) -> bytes:
    """The content of a file of at most `limit` bytes that belongs to one of these users.

    :raises Untrusted: it must not be read. :raises OSError: it cannot be read.
    """
    size = _trusted_size(descriptor, limit, owners)
    chunks = [os.read(descriptor, size + 1)]
    while chunks[-1] and size > sum(map(len, chunks)):
        chunks.append(os.read(descriptor, size))
    return b"".join(chunks)


def _trusted_size(descriptor: int, limit: int, owners: frozenset[int]) -> int:
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode):
        raise Untrusted("no plain file")
    if facts.st_uid not in owners:
        raise Untrusted(f"owned by user {facts.st_uid}")
    if facts.st_size > limit:
        raise Untrusted(f"{facts.st_size} bytes where {limit} are allowed")
    return facts.st_size


def is_private_file(descriptor: int) -> bool:
    """Whether it is a regular file of this user with one name at most."""
    facts = os.fstat(descriptor)
    ours = stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid()
    return ours and facts.st_nlink <= 1


def is_special(facts: os.stat_result) -> bool:
    """Whether it is a link, socket, FIFO or device."""
    return not (stat.S_ISREG(facts.st_mode) or stat.S_ISDIR(facts.st_mode))

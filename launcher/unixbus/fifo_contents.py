"""What an open FIFO holds, in bytes and in packets. Nothing is taken from it."""

import array
import fcntl
import os
import termios
from contextlib import suppress

from launcher.directories.system_calls import copy_packets

PIPE_BYTES = 65536  # what a pipe holds by default, and more than one packet


def bytes_in(fifo: int) -> int:
    """How much can be read from an open FIFO."""
    found = array.array("i", [0])
    fcntl.ioctl(fifo, termios.FIONREAD, found)
    return found[0]


def packets_in(fifo: int) -> int:
    """How many packets wait in an open FIFO: copies of them are counted (tee(2)), none is taken.

    :raises OSError: there is no descriptor free.
    """
    if not bytes_in(fifo):
        return 0
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK | os.O_DIRECT)
    try:
        copy_packets(fifo, writer)
        count = 0
        with suppress(BlockingIOError):
            while os.read(reader, PIPE_BYTES):
                count += 1
        return count
    finally:
        os.close(reader)
        os.close(writer)

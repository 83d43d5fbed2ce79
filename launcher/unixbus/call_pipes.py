"""The short way of a call: through the FIFO `calls` of its queue, without a file.

A call that is small goes into the FIFO as one packet (O_DIRECT in pipe(7)), if a server listens
and the FIFO has room. Each read takes one packet, so the first server with a free thread takes the
call, as it would take a file. The kernel keeps what is in a FIFO while one process has it open.
The caller has it open until its call is over. So the calls survive the servers, and wait for the
next one. All other messages become files: see `spool`.
"""

import fcntl
import os
import select
from collections.abc import Iterator
from contextlib import suppress

from launcher.unixbus.fifo_contents import bytes_in
from launcher.unixbus.message_name import MessageName, parse_name
from launcher.unixbus.spool import Spool
from launcher.unixbus.wire import PACKET_BYTES, Garbage, decode_packet, encode_packet

MOST_KEPT = 32  # descriptors
PACKETS = os.O_WRONLY | os.O_NONBLOCK | os.O_DIRECT


class CallPipe:
    """A FIFO that is open for writing. Closed when nobody refers to it any more. Any thread."""

    def __init__(self, spool: Spool) -> None:
        """:raises OSError: no server listens, or this kernel has no packets in FIFOs."""
        self._spool = spool
        self._number = -1
        self._number = spool.open_calls(os.O_WRONLY)
        fcntl.fcntl(self._number, fcntl.F_SETFL, PACKETS)

    def __del__(self) -> None:
        self.close_descriptor()

    def close_descriptor(self) -> None:
        """In a forked child, whose descriptor is a copy. Other threads may use it elsewhere."""
        number, self._number = self._number, -1
        if number >= 0:
            os.close(number)

    def write(self, packet: bytes) -> None:
        """:raises BlockingIOError: it is full. :raises BrokenPipeError: no server listens."""
        os.write(self._number, packet)

    def look_after(self) -> None:
        """If calls wait in it, wake a server, or make files of them if no server reads the FIFO:
        it was removed, or the servers that listen now are of a release that does not know it."""
        if not bytes_in(self._number):
            return
        waits = self._spool.has_calls_open(self._number) and not self._spool.is_listened_to()
        if waits or self._has_reader():
            self._spool.poke()
            return
        reader = os.open(f"/proc/self/fd/{self._number}", os.O_RDONLY | os.O_NONBLOCK)
        try:
            for name, data in _packets(reader):
                try:
                    self._spool.put(name, data)
                except OSError:  # back into the room that it left, while there is a reader
                    self.write(encode_packet(self._spool.place, name, data))
                    raise
        finally:
            os.close(reader)

    def _has_reader(self) -> bool:
        poll = select.poll()
        poll.register(self._number, 0)
        return not any(events & select.POLLERR for _, events in poll.poll(0))


class CallPipes:
    """The FIFOs to which one process sends calls. Any thread."""

    def __init__(self) -> None:
        self._kept: dict[str, CallPipe] = {}

    def send(self, spool: Spool, name: MessageName, data: bytes) -> CallPipe | None:
        """Send a call; returns the FIFO, to which the caller refers until its call is over. None:
        the call is not sent, and has to be stored."""
        packet = encode_packet(spool.place, name, data)
        if len(packet) > PACKET_BYTES:
            return None
        pipe = self._kept.get(spool.place)
        try:
            if pipe is None:
                return self._send_first(spool, packet)
            pipe.write(packet)
        except BrokenPipeError:  # perhaps the queue was made anew
            self._kept.pop(spool.place, None)
            with suppress(OSError):
                return self._send_first(spool, packet)
            return None
        except OSError:  # none listens, none ever did, it is full, too many open files…
            return None
        return pipe

    def _send_first(self, spool: Spool, packet: bytes) -> CallPipe:
        pipe = CallPipe(spool)
        pipe.write(packet)
        if len(self._kept) >= MOST_KEPT:
            self._kept = {}
        self._kept[spool.place] = pipe
        return pipe

    def close(self) -> None:
        """Close the FIFOs to which no caller refers."""
        self._kept = {}

    def close_descriptors(self) -> None:
        """Called in a forked child, whose descriptors are copies."""
        for pipe in self._kept.values():
            pipe.close_descriptor()
        self.close()


def _packets(reader: int) -> Iterator[tuple[MessageName, bytes]]:
    """Take all packets out of a FIFO."""
    with suppress(BlockingIOError):
        while data := os.read(reader, PACKET_BYTES):
            with suppress(Garbage):
                packet = decode_packet(data)
                name = parse_name(packet.name)
                if name is not None:
                    yield name, packet.body

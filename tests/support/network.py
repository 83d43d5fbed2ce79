"""Hosts on a network of their own: network namespaces, joined by a switch, with links to cut.

The namespaces have no names: descriptors and processes hold them, and the kernel removes one, with
its links, when the last of these is gone. So nothing is left of a run that is killed, either.
Needs root.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PREFIX = "192.0.2."  # of documentation (RFC 5737): nobody else's
MOST_HOSTS = 254
COMMAND_DEADLINE = 30.0  # seconds
_CLONE_NEWNET = 0x40000000  # unshare(2)
_OWN = Path("/proc/thread-self/ns/net")
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Host:
    """One host. What is started inside stays there, whichever thread talks to it later."""

    address: str
    namespace: int  # a descriptor
    _switch: int
    _port: str

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is on this host: its new sockets, and processes that it starts."""
        with _inside(self.namespace):
            yield

    def unplug(self) -> None:
        """Pull the cable. Connections stay, and nothing that is sent arrives."""
        self._set_port("down")

    def plug(self) -> None:
        """Put it back in."""
        self._set_port("up")

    def _set_port(self, state: str) -> None:
        with _inside(self._switch):
            _ip("link", "set", self._port, state)


@contextmanager
def network(count: int) -> Iterator[Sequence[Host]]:
    """So many hosts on one switch, each with one cable; they reach each other and nobody else."""
    assert count <= MOST_HOSTS
    with ExitStack() as stack:
        switch, *namespaces = (_make_namespace(stack) for _ in range(1 + count))
        with _inside(switch):
            _ip("link", "add", "switch", "up", "type", "bridge", "forward_delay", "0")
        hosts = [
            Host(f"{PREFIX}{number}", namespace, switch, f"port{number}")
            for number, namespace in enumerate(namespaces, 1)
        ]
        for host in hosts:
            _wire(host)
        yield hosts
        for host in hosts:  # whose processes end meanwhile may have something to say
            host.plug()


def _wire(host: Host) -> None:
    place = f"/proc/{os.getpid()}/fd/{host._switch}"
    with host.inside():
        _ip("link", "set", "lo", "up")
        peer = ("peer", "name", host._port, "netns", place)
        _ip("link", "add", "eth0", "type", "veth", *peer)
        _ip("address", "add", f"{host.address}/24", "dev", "eth0")
        _ip("link", "set", "eth0", "up")
    with _inside(host._switch):
        _ip("link", "set", host._port, "master", "switch", "up")


def _make_namespace(stack: ExitStack) -> int:
    with _back_home():
        _check(_libc.unshare(_CLONE_NEWNET), "unshare")
        descriptor = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, descriptor)
    return descriptor


@contextmanager
def _inside(namespace: int) -> Iterator[None]:
    with _back_home():
        _check(_libc.setns(namespace, _CLONE_NEWNET), "setns")
        yield


@contextmanager
def _back_home() -> Iterator[None]:
    """At the end the calling thread is in the network namespace in which it was."""
    home = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield
    finally:
        try:
            _check(_libc.setns(home, _CLONE_NEWNET), "setns")
        finally:
            os.close(home)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _ip(*words: str) -> None:
    command = ["ip", *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=COMMAND_DEADLINE, check=False
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

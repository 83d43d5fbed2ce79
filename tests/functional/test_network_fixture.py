"""The network of the tests: hosts that reach each other, links to cut, nothing left behind."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.support.directories import find
from tests.support.network import Host, network
from tests.support.users import needs_root
from tests.support.waiting import wait_until

OWN = Path("/proc/thread-self/ns/net")
CHECKOUT = Path(__file__).parents[2]
SILENCE_SECONDS = 0.5
DEADLINE = 20.0
ABANDONED = """\
import os, subprocess, sys
from tests.support.network import network
from tests.support.traces import DIE_WITH_US
with network(1) as (host,):
    print(os.fstat(host.namespace).st_ino, flush=True)
    with host.inside():
        subprocess.run([*DIE_WITH_US, "sleep", "infinity"])
"""

pytestmark = needs_root

PROC = Path("/proc")


def reaches(host: Host, address: tuple[str, int]) -> bool:
    with host.inside():
        try:
            socket.create_connection(address, SILENCE_SECONDS).close()
        except OSError:
            return False
    return True


def test_hosts_reach_each_other_while_their_links_are_whole() -> None:
    with network(3) as (near, far, other):
        with far.inside():
            listener = socket.create_server((far.address, 0))
        with listener:
            address = listener.getsockname()
            assert reaches(near, address)
            far.unplug()
            assert not reaches(near, address)
            assert reaches(far, address)
            far.plug()
            wait_until(lambda: reaches(near, address), DEADLINE, "the link is whole again")
            assert reaches(other, address)


def test_a_thread_that_comes_back_is_where_it_was() -> None:
    home = OWN.readlink()
    with network(1) as (host,):
        with host.inside():
            assert OWN.readlink() != home
        assert OWN.readlink() == home


def test_nothing_is_left_of_a_run_that_is_killed() -> None:
    command = [sys.executable, "-c", ABANDONED]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        namespace = int(run.stdout.readline())
        wait_until(lambda: _used(namespace), DEADLINE, "a process is in it")
        run.send_signal(signal.SIGKILL)
    wait_until(lambda: not _used(namespace), DEADLINE, "nobody is in it")


def _used(namespace: int) -> bool:
    """Whether a process is in it, or holds a descriptor of it."""
    places = [*find(PROC, "[0-9]*/ns/net"), *find(PROC, "[0-9]*/fd/*")]
    return any(_target(place) == f"net:[{namespace}]" for place in places)


def _target(place: Path) -> str:
    try:
        return str(place.readlink())
    except OSError:  # gone meanwhile
        return ""

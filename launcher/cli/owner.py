"""A command of root becomes the owner of the embedded bus before it uses it.

The owner of a directory can put links in it that lead anywhere, and root would follow them. The
command imports its modules first: the owner may not be able to read them.
"""

import os
import time
from pathlib import Path

from oslo_config import cfg
from oslo_messaging import TransportURL

from launcher.cli import control_connection
from launcher.directories import ownership, privileges
from launcher.errors import BusUnavailable
from launcher.serve import rpc
from launcher.unixbus import driver_options
from launcher.unixbus.address import directory_of

LOOK_SECONDS = 0.1


def become_bus_owner(conf: cfg.ConfigOpts, wait_seconds: float = 0.0) -> float:
    """Become the owner of an embedded bus. Return the seconds spent waiting for a master.

    :param wait_seconds: seconds to wait for the master, if it has to be asked.
    :raises BusUnavailable: no service has made the bus.
    :raises PlaceUntrusted, OwnerUnreachable: see `privileges.become_owner`.
    """
    if not conf.transport_url.startswith("unix:"):
        return 0.0
    bus = Path(directory_of(TransportURL.parse(conf)))
    try:
        if not ownership.is_there(bus.parent):
            reason = f"there is no directory {bus.parent}; is the service running?"
            raise BusUnavailable(url=rpc.shown_url(conf), reason=reason)
        waited = _trust_master(conf, bus, wait_seconds)
        privileges.become_owner(bus)
        # A bus of root's would shut the service out.
        if os.geteuid() == 0 and not ownership.is_there(bus):
            reason = f"there is no {bus}; is the service running?"
            raise BusUnavailable(url=rpc.shown_url(conf), reason=reason)
    except OSError as error:
        reason = f"{error.filename or bus}: {error.strerror}"
        raise BusUnavailable(url=rpc.shown_url(conf), reason=reason) from error
    return waited


def _trust_master(conf: cfg.ConfigOpts, bus: Path, wait_seconds: float) -> float:
    """Accept replies from the user of the master, if an id-mapped mount hides the bus's owner.
    systemd makes such a mount for RuntimeDirectory= with DynamicUser=, from 257 on. Return the
    seconds spent waiting: there is no master for a moment while the unit restarts."""
    shown = ownership.look(str(ownership.nearest(bus))).uid
    if os.geteuid() != 0 or shown != ownership.overflow_uid():
        return 0.0
    try:
        uid, waited = _uid_of_master(Path(conf.runtime_path), wait_seconds)
    except OSError as error:
        reason = f"no master listens in {conf.runtime_path} ({error.strerror}); is it running?"
        raise BusUnavailable(url=rpc.shown_url(conf), reason=reason) from error
    driver_options.trust_service_user(conf, uid)
    return waited


def _uid_of_master(runtime_path: Path, wait_seconds: float) -> tuple[int, float]:
    """The master's uid, and the seconds spent waiting for the master."""
    begun, waited = time.monotonic(), 0.0
    while True:
        try:
            return control_connection.uid_of_master(runtime_path), waited
        except (FileNotFoundError, ConnectionRefusedError):
            if waited >= wait_seconds:
                raise
        time.sleep(LOOK_SECONDS)
        waited = time.monotonic() - begun

"""A conductor in this process, on a real bus, and the registry as a host reaches it through it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import oslo_messaging
from oslo_config import cfg

from launcher.conductor.conductor_manager import ConductorManager
from launcher.conductor.encoding import TOPIC
from launcher.conductor.remote_registry import RemoteRegistry
from launcher.registry.interface import Registry
from launcher.serve.manager import ManagerContext
from launcher.serve.rpc_server import Server
from tests.support.directories import short_directory
from tests.support.transports import configuration

HOST = "conductor-1"
START_SECONDS = 30.0


@contextmanager
def through_conductor(
    registry: Registry, manager: type[ConductorManager] = ConductorManager, **options: Any
) -> Iterator[RemoteRegistry]:
    """The registry behind a conductor, whose store is `registry`, on a unix:// bus of its own.

    :param manager: the conductor's. :param options: of RemoteRegistry.
    """
    with ExitStack() as stack:
        bus = f"unix://{stack.enter_context(short_directory())}/bus"
        stack.enter_context(serving(registry, bus, manager))
        yield stack.enter_context(host_without_database(bus, **options))


@contextmanager
def serving(
    registry: Registry, url: str, manager: type[ConductorManager] = ConductorManager
) -> Iterator[None]:
    """A conductor on the bus at `url`."""
    transport = oslo_messaging.get_rpc_transport(configuration(url))
    context = ManagerContext(
        HOST, "conductor-launcher", TOPIC, 0, "/nonexistent", registry, cfg.CONF
    )
    target = oslo_messaging.Target(topic=TOPIC, server=HOST)
    server = Server(transport, target, [manager(context)])
    server.start(lambda started: _require(started.wait(START_SECONDS)))
    try:
        yield
    finally:
        server.finish()
        transport.cleanup()


@contextmanager
def host_without_database(url: str, **options: Any) -> Iterator[RemoteRegistry]:
    """The registry as a host on the bus at `url` has it; `options` of RemoteRegistry."""
    transport = oslo_messaging.get_rpc_transport(configuration(url))
    try:
        yield RemoteRegistry(transport, url, **options)
    finally:
        transport.cleanup()


def _require(started: bool) -> None:
    assert started, "the conductor's server did not start"

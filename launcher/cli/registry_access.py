"""The registry, as commands open it: in the database, or through a conductor.

The modules of the bus are imported for a conductor only: a command that asks a database then takes
half the time, and 15 MB less.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from oslo_config import cfg

from launcher.config.masking import mask_url
from launcher.directories import privileges
from launcher.errors import DatabaseUnusable
from launcher.registry.interface import Registry


def become_owner(conf: cfg.ConfigOpts) -> None:
    """As root, become the owner of an embedded database, or of the embedded bus with a conductor
    on it. Called before a thread is started, and after the imports, since the owner may not be
    able to read the modules.

    :raises ConfigError: the URL of the database is wrong.
    :raises DatabaseUnusable, BusUnavailable, PlaceUntrusted, OwnerUnreachable: see `owner` and
        `privileges`.
    """
    if conf.database.use_conductor:
        from launcher.cli import bus_client, owner  # noqa: F401, PLC0415  # oslo.messaging
        from launcher.conductor import remote_registry  # noqa: F401, PLC0415  # likewise
        from launcher.serve import rpc  # noqa: PLC0415  # likewise

        rpc.get_transport(conf, passing=True)  # imports the driver
        owner.become_bus_owner(conf)
        return
    from launcher.registry import engine, store  # noqa: F401, PLC0415  # imports SQLAlchemy

    engine.make_database(conf.database.connection)  # checks the URL
    _become_database_owner(conf.database.connection)


@contextmanager
def opened(conf: cfg.ConfigOpts) -> Iterator[Registry]:
    """The registry, which is closed at the end.

    :raises DatabaseUnavailable, DatabaseUnusable: there is none.
    """
    if conf.database.use_conductor:
        with _conductor(conf) as registry:
            yield registry
        return
    from launcher.registry import engine, store  # noqa: PLC0415  # imports SQLAlchemy

    database = engine.make_database(conf.database.connection)
    registry = store.SqlRegistry(engine.reached(database))
    try:
        yield registry
    finally:
        registry.close()


@contextmanager
def _conductor(conf: cfg.ConfigOpts) -> Iterator[Registry]:
    """The registry behind a conductor, which answers."""
    from launcher.cli.bus_client import close  # noqa: PLC0415  # imports oslo.messaging
    from launcher.conductor.remote_registry import RemoteRegistry  # noqa: PLC0415  # likewise
    from launcher.rabbit.troubles import Troubles  # noqa: PLC0415  # likewise
    from launcher.serve import rpc  # noqa: PLC0415  # likewise

    transport, troubles = rpc.get_transport(conf, passing=True), Troubles.watch()
    why = partial(troubles.error, conf.transport_url)
    registry = RemoteRegistry(transport, conf.transport_url, why=why)
    try:
        registry.check()
        yield registry
    finally:
        close(transport)


def _become_database_owner(connection: str) -> None:
    """Become the owner of the directory of an embedded database.

    :param connection: a SQLAlchemy URL, checked already.
    """
    from launcher.registry import urls  # noqa: PLC0415  # imports SQLAlchemy

    url = urls.parse(connection)
    if os.geteuid() != 0 or url.get_backend_name() != "sqlite" or not url.database:
        return
    place = Path(url.database).absolute().parent
    try:
        privileges.become_owner(place)
    except OSError as error:  # on a file system where root is nobody, for instance
        reason = f"{error.filename or place}: {error.strerror}"
        raise DatabaseUnusable(url=mask_url(connection), reason=reason) from error

"""Finds manager classes by name, and imports before the fork what workers need after it."""

import importlib
import inspect
import os
import re
from importlib.metadata import EntryPoint, entry_points

from oslo_config import cfg
from oslo_messaging import MessagingException, TransportURL
from stevedore import driver as stevedore_driver

from launcher.bus.address import directory_of
from launcher.bus.directory import check_directory
from launcher.errors import DatabaseUnusable, ManagerNotFound, OptionError, one_line
from launcher.masking import mask_url
from launcher.serve import rpc
from launcher.serve.manager import Manager
from launcher.serve.server import speaks_amqp

GROUP = "launcher.managers"
SUFFIX = "-launcher"


def default_topic(binary: str) -> str:
    """The topic of a binary: its name without the suffix."""
    return binary.removesuffix(SUFFIX)


def manager_class(name: str | None, binary: str) -> type[Manager]:
    """The class that `name` (an entry point or package.module:Class), or else `binary`, means.

    :raises ManagerNotFound: there is none, it cannot be imported, or it is no Manager.
    """
    wanted = name or default_topic(binary)
    found = _by_path(wanted) if ":" in wanted else _by_entry_point(wanted)
    if not (inspect.isclass(found) and issubclass(found, Manager)):
        raise ManagerNotFound(
            name=wanted,
            reason="it is no class derived from launcher.serve.manager.Manager",
            tried=f"{found!r}",
        )
    return found


def _by_path(path: str) -> object:
    if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", path):
        raise ManagerNotFound(
            name=path, reason="this is not of the form package.module:Class", tried="nothing"
        )
    return _import(path, EntryPoint("manager", path, GROUP))


def _by_entry_point(name: str) -> object:
    known = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    for entry in known:
        if entry.name == name:
            return _import(name, entry)
    names = ", ".join(entry.name for entry in known) or "none"
    raise ManagerNotFound(
        name=name,
        reason=f"no entry point of that name in {GROUP}, which has {names}; "
        "give package.module:Class for a class without one",
        tried=f"the entry points of {GROUP}",
    )


def _import(name: str, entry: EntryPoint) -> object:
    try:
        return entry.load()
    except Exception as error:  # third-party code may raise anything on import
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ManagerNotFound(name=name, reason=reason, tried=f"import {entry.value}") from error
    except SystemExit as error:
        raise ManagerNotFound(
            name=name, reason="its import exits the process", tried=f"import {entry.value}"
        ) from error


def preload(conf: cfg.ConfigOpts) -> None:
    """Called in the master, before the first fork: import the code of the bus's and database's
    drivers, so that workers share its pages and lose no time; nothing is opened.

    :raises ConfigError: transport_url or connection name a driver that is not there.
    """
    _preload_bus(conf)
    _preload_database(conf.database.connection)
    importlib.import_module("oslo_messaging.rpc.server")


def _preload_bus(conf: cfg.ConfigOpts) -> None:
    """Making a driver imports it and parses the URL; it connects only when it is used."""
    if conf.transport_url.startswith("fake:"):
        problem = "fake: stays within one process; give unix:///directory or rabbit://…"
        raise OptionError(option="transport_url", problem=problem)
    rpc.get_transport(conf)
    rpc.check_hosts(conf)
    if speaks_amqp(conf):
        importlib.import_module("launcher.bus.amqp")
    if conf.transport_url.startswith("unix:"):
        _check_bus(conf)
    stevedore_driver.DriverManager("oslo.messaging.executors", "threading")


def _check_bus(conf: cfg.ConfigOpts) -> None:
    """One that is there already and is not ours to use: no waiting mends that."""
    path = directory_of(TransportURL.parse(conf))
    try:
        if os.path.lexists(path):
            check_directory(path)
    except MessagingException as error:
        raise OptionError(option="transport_url", problem=one_line(error)) from error


def _preload_database(url: str) -> None:
    from sqlalchemy import exc, make_url  # noqa: PLC0415  # not needed by most client commands

    try:
        make_url(url).get_dialect().import_dbapi()
    except ValueError as error:  # its text shows the "port", which may be half a password
        reason = "its port is no number; are / : @ # ? in a password written as %2F %3A %40 …?"
        raise DatabaseUnusable(url=mask_url(url), reason=reason) from error
    except (exc.ArgumentError, ImportError) as error:
        raise DatabaseUnusable(url=mask_url(url), reason=mask_url(one_line(error))) from error
    from launcher.registry.engine import make_database  # noqa: PLC0415  # imports SQLAlchemy too

    make_database(url)

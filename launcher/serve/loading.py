"""Finds manager classes by name, and imports the modules that workers need before the fork."""

import importlib
import importlib.metadata
import inspect
import os
import re
import traceback
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from oslo_config import cfg
from oslo_messaging import MessagingException, TransportURL
from stevedore import driver as stevedore_driver

from launcher import rpc_results
from launcher.config import registered
from launcher.errors import (
    LauncherError,
    ManagerNotFound,
    ManagerUnfit,
    OptionError,
)
from launcher.exception_text import one_line, reason
from launcher.serve import current_directory, hooks, manager_checks, rpc
from launcher.serve.manager import Manager
from launcher.serve.rpc import speaks_amqp
from launcher.unixbus.address import directory_of
from launcher.unixbus.directory import check_directory

GROUP = "launcher.managers"
SUFFIX = "-launcher"


def default_topic(binary: str) -> str:
    """The topic of a binary: its name without the suffix."""
    return binary.removesuffix(SUFFIX)


def manager_class(name: str | None, binary: str) -> type[Manager]:
    """Import the class that `name` names (an entry point or package.module:Class). Without a name
    it is the entry point of the binary's topic.

    :raises ManagerNotFound: there is no such class, it cannot be imported, or it is no Manager.
    :raises ManagerUnfit: the class has a fault that `manager_checks` finds.
    """
    wanted = name or default_topic(binary)
    found = _by_path(wanted) if ":" in wanted else _by_entry_point(wanted)
    if not (inspect.isclass(found) and issubclass(found, Manager)):
        raise ManagerNotFound(
            name=wanted,
            reason="it is no class derived from launcher.serve.manager.Manager",
            tried=f"{found!r}",
        )
    if fault := manager_checks.fault_of(found):
        raise ManagerUnfit(name=wanted, fault=fault)
    return found


def _by_path(path: str) -> object:
    if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", path):
        raise ManagerNotFound(
            name=path, reason="this is not of the form package.module:Class", tried="nothing"
        )
    hint = current_directory.offer(path.partition(":")[0])
    return _import(path, EntryPoint("manager", path, GROUP), hint)


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


def _import(name: str, entry: EntryPoint, hint: str = "") -> object:
    """:param hint: why the current directory was not searched."""
    try:
        return entry.load()
    except KeyboardInterrupt:  # Ctrl-C in a command
        raise
    except SystemExit as error:
        why = f"its import exits the process{_place_of(error)}"
        raise ManagerNotFound(name=name, reason=why, tried=f"import {entry.value}") from error
    except BaseException as raised:  # third-party code may raise anything on import
        ours = registered.explained(cfg.CONF, raised)
        if isinstance(ours, OptionError):
            raise ours from raised
        why = "; ".join(filter(None, [f"{reason(raised)}{_place_of(raised)}", hint]))
        raise ManagerNotFound(name=name, reason=why, tried=f"import {entry.value}") from raised


def preload_manager(manager: type[Manager], state_path: str) -> None:
    """Call the manager's `preload` hook. Called in the master before the first fork, and by
    `config check`.

    :raises ManagerUnfit: the hook raised an error.
    :raises OptionError: it has read a wrong value of an option.
    """
    try:
        hooks.call_hook(manager.preload, state_path, name="preload")
    except (KeyboardInterrupt, LauncherError):  # Ctrl-C in a command; has its sentence already
        raise
    except BaseException as raised:  # third-party code may raise anything
        error = registered.explained(cfg.CONF, raised)
        if isinstance(error, LauncherError):
            raise error from raised
        what = "exits the process" if isinstance(error, SystemExit) else f"raises {reason(error)}"
        fault = f"its preload {what}{_place_of(error)}"
        raise ManagerUnfit(name=manager.__name__, fault=fault) from raised


def _place_of(error: BaseException) -> str:
    """The last line of third-party code in the traceback; nothing if there is none, for instance
    when the module itself does not exist."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if not _is_machinery(frame.filename)]
    return f" ({theirs[-1].filename}:{theirs[-1].lineno})" if theirs else ""


def traceback_of(error: BaseException) -> str:
    """What Python would print of it, without our own frames: third-party code raised it."""
    told = traceback.TracebackException.from_exception(error)
    theirs = [frame for frame in told.stack if not _is_machinery(frame.filename)]
    told.stack = traceback.StackSummary.from_list(theirs)
    return "".join(told.format() if theirs else told.format_exception_only()).rstrip("\n")


def _is_machinery(file: str) -> bool:
    decorators = {inspect.getfile(Manager), rpc.__file__}
    calls = {__file__, hooks.__file__, rpc_results.__file__}
    ours = file in {inspect.getfile(importlib.metadata), *decorators, *calls}
    return ours or file.startswith("<frozen") or Path(file).parent.name == "importlib"


def check_use_of_conductor(conf: cfg.ConfigOpts, manager: type[Manager]) -> None:
    """Raise OptionError if a manager that serves the database is to have none itself."""
    if conf.database.use_conductor and manager.needs_database:
        problem = (
            f"{manager.__name__} serves the database to others and needs one itself; unset it"
        )
        raise OptionError(option="[database] use_conductor", problem=problem)


def preload(conf: cfg.ConfigOpts) -> None:
    """Import the drivers of bus and registry, so that workers share their memory and start faster.
    Opens no descriptor. Called in the master, before the first fork.

    :raises ConfigError: transport_url or connection names a driver that is not installed.
    """
    _preload_bus(conf)
    if conf.database.use_conductor:
        importlib.import_module("launcher.conductor.remote_registry")
    else:
        _preload_database(conf.database.connection)
    importlib.import_module("oslo_messaging.rpc.server")


def _preload_bus(conf: cfg.ConfigOpts) -> None:
    """Import the bus's driver and parse its URL. The driver connects when it is first used."""
    if conf.transport_url.startswith("fake:"):
        problem = "fake: stays within one process; give unix:///directory or rabbit://…"
        raise OptionError(option="transport_url", problem=problem)
    rpc.get_transport(conf)
    rpc.check_hosts(conf)
    if speaks_amqp(conf):
        importlib.import_module("launcher.rabbit.listeners")
        importlib.import_module("launcher.rabbit.transport")
    stevedore_driver.DriverManager("oslo.messaging.executors", "threading")


def check_bus(conf: cfg.ConfigOpts, *, for_owner: bool = False) -> None:
    """Raise OptionError if the embedded bus exists and this user cannot use it: waiting does not
    help.

    :param for_owner: see `paths.check_private`.
    """
    if not conf.transport_url.startswith("unix:"):
        return
    path = directory_of(TransportURL.parse(conf))
    try:
        if os.path.lexists(path):
            check_directory(path, for_owner=for_owner)
    except MessagingException as error:
        raise OptionError(option="transport_url", problem=one_line(error)) from error


def _preload_database(url: str) -> None:
    from launcher.registry.engine import make_database  # noqa: PLC0415  # imports SQLAlchemy

    make_database(url)

"""Loads the configuration: files, credentials, defaults, checks.

Called in the master, before the first fork, and by commands. The options are in the global
`cfg.CONF`: oslo.messaging registers some of its options only there. Only cli, master and worker
get that object; all other modules get plain values.
"""

import math
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_log import log

from launcher import native_threads
from launcher.config import file_contents
from launcher.config.file_contents import OptionKey
from launcher.config.masking import mask_url
from launcher.config.options import GROUPS
from launcher.config.reading import read_files, read_value
from launcher.directories import locations
from launcher.errors import OptionError, UsageError
from launcher.exception_text import one_line

EXCHANGE = "launcher"  # the default of control_exchange
LOG_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s %(actor)s%(message)s"
CONTEXT_LOG_FORMAT = LOG_FORMAT.replace("%(message)s", "[%(request_id)s] %(message)s")
CREDENTIALS = {"transport_url": None, "connection": "database"}  # option: its group

# The options that a reload puts in force without new processes.
MUTABLE: frozenset[OptionKey] = frozenset({("DEFAULT", "debug")}) | {
    (group or "DEFAULT", opt.dest) for group, opts in GROUPS.items() for opt in opts if opt.mutable
}


def register(conf: cfg.ConfigOpts, *, bus: bool = True) -> None:
    """Register our options, those of oslo.log and, for the bus, those of oslo.messaging."""
    for group, opts in GROUPS.items():
        conf.register_opts(opts, group)
    log.register_options(conf)
    conf.set_default("logging_default_format_string", LOG_FORMAT)
    conf.set_default("logging_context_format_string", CONTEXT_LOG_FORMAT)
    if bus:
        _register_bus(conf)


def _register_bus(conf: cfg.ConfigOpts) -> None:
    """Register transport_url. Its own default is replaced later."""
    native_threads.require()
    from oslo_messaging import TransportURL  # noqa: PLC0415  # 13 MB that not all commands need

    TransportURL.parse(conf, "unix:///")  # not the one in the files, which may be wrong
    conf.set_default("control_exchange", EXCHANGE)


def load(
    conf: cfg.ConfigOpts,
    binary: str,
    args: Sequence[str] = (),
    *,
    needs_bus: bool = True,
    **overrides: object,
) -> None:
    """Read and check the configuration.

    :param args: `--config-file=…` and `--config-dir=…`; by default the files in the usual places.
    :param needs_bus: False: without oslo.messaging's options, if the registry is in a database.
    :param overrides: values of the command line, which outrank the files; a name may be
        group.option.
    :raises ConfigError: a file is missing or does not parse, or a value is out of its range.
    :raises UsageError: an override is no value of its option.
    """
    register(conf, bus=needs_bus)
    try:
        read_files(conf, binary, args)
        if not needs_bus and read_value(conf, "database", "use_conductor"):
            _register_bus(conf)
        for option, value in overrides.items():
            _override(conf, option, value)
        _fill_in_defaults(conf, binary)
        take_credentials(conf)
        check_values(conf)
    except OptionError as error:
        raise _with_file(error, binary, args) from error


def _with_file(error: OptionError, binary: str, args: Sequence[str]) -> OptionError:
    """The error with the variable or file that the value comes from, if there is one."""
    group, _, name = error.option.removeprefix("[").rpartition("] ")
    if name in file_contents.credentials():  # credentials outrank files and variables
        return error
    key = (group or "DEFAULT", name)
    source = file_contents.variable_of(key) or file_contents.file_of(key, binary, args)
    if source is None:
        return error
    return OptionError(option=f"{error.option} in {source}", problem=error.problem)


def runtime_path(binary: str, args: Sequence[str] = ()) -> Path:
    """The runtime directory of a running service. The rest of the files may be wrong: the service
    still runs with what it read before. For the arguments see `load`.

    :raises ConfigError: a file is missing or does not parse, or the path is not absolute.
    """
    conf = cfg.ConfigOpts()
    conf.register_opts(GROUPS[None])
    read_files(conf, binary, args)
    _fill_in_paths(conf, binary)
    _check_value(conf, None, "runtime_path")
    return Path(conf.runtime_path)


def is_given(conf: cfg.ConfigOpts, option: str) -> bool:
    """Whether the command line, a file or the environment sets an option without a group."""
    found = conf.get_location(option)
    if found is None:
        return False
    given = found.location
    return bool(given.is_user_controlled) or given is cfg.Locations.set_override


def look_for_files(conf: cfg.ConfigOpts, binary: str) -> None:
    """Look for the files in the usual places again. Called before a reload."""
    conf.default_config_files = cfg.find_config_files(binary, binary)
    conf.default_config_dirs = cfg.find_config_dirs(binary, binary)


def _override(conf: cfg.ConfigOpts, option: str, value: object) -> None:
    group, _, name = option.rpartition(".")
    try:
        conf.set_override(name, value, group or None)
    except ValueError as error:
        raise UsageError(problem=f"--{name} {value}: {one_line(error)}") from error


def _fill_in_defaults(conf: cfg.ConfigOpts, binary: str) -> None:
    """Set the host, the paths, and the URLs of the embedded bus and database."""
    _set_default_host(conf, socket.gethostname())
    _fill_in_paths(conf, binary)
    database = Path(read_value(conf, None, "state_path"), "launcher.sqlite")
    bus = f"unix://{read_value(conf, None, 'runtime_path')}/bus"
    conf.set_default("connection", _plain(f"sqlite:///{database}"), group="database")
    if "transport_url" in conf:  # as oslo.messaging has registered it
        conf.set_default("transport_url", _plain(bus))


def _fill_in_paths(conf: cfg.ConfigOpts, binary: str) -> None:
    """Set the paths that systemd or XDG gives."""
    conf.set_default("state_path", _plain(locations.state_path(os.environ, binary)))
    conf.set_default("runtime_path", _plain(locations.runtime_path(os.environ, binary)))


def _set_default_host(conf: cfg.ConfigOpts, name: str) -> None:
    try:
        conf.set_default("host", name)
    except ValueError as error:
        if read_value(conf, None, "host") is None:
            problem = f"this machine's name {name!r} cannot be used; set another one"
            raise OptionError(option="host", problem=problem) from error


def _plain(text: str) -> str:
    """Escape a value: oslo.config replaces $name by the value of that option."""
    return text.replace("$", "$$")


def take_credentials(conf: cfg.ConfigOpts) -> None:
    """Set options from systemd credentials, which outrank the files: LoadCredential= of
    systemd.exec(5).

    :raises ConfigError: a credential cannot be read.
    """
    for option, text in file_contents.credentials().items():
        if option != "transport_url" or option in conf:
            conf.set_override(option, _plain(text), group=CREDENTIALS[option])


def check_values(conf: cfg.ConfigOpts) -> None:
    """Raise OptionError for a wrong value, or for values that contradict each other."""
    for group, opts in GROUPS.items():
        for opt in opts:
            _check_value(conf, group, opt.dest)
    for name in conf:  # libraries' too: a variable's value is converted only when it is read
        read_value(conf, None, name)
    if "transport_url" in conf and "://" not in read_value(conf, None, "transport_url"):
        raise OptionError(
            option="transport_url",
            problem="this is no URL; give rabbit://user:password@host:port/virtual_host or "
            "unix:///directory",
        )
    if conf.service_down_time <= conf.report_interval:
        raise OptionError(
            option="service_down_time",
            problem=f"{conf.service_down_time} s has to be larger than report_interval "
            f"({conf.report_interval} s), or every service counts as down",
        )
    _check_conductor(conf)
    for name, seconds in conf.periodic_tasks.spacing.items():
        if not re.fullmatch(r"[+-]?\d+(\.\d*)?", seconds.strip()):
            raise OptionError(
                option=f"[periodic_tasks] spacing, task {name}",
                problem=f"{seconds!r} is not a number of seconds",
            )


def _check_conductor(conf: cfg.ConfigOpts) -> None:
    """Whether a conductor answers, only a call can tell. But there is no need for a database's
    password here, and no other service can be on a bus below our own runtime directory."""
    if not conf.database.use_conductor:
        return
    if _is_set(conf, "connection", "database"):
        problem = "it is set, and so is use_conductor; a host has the one or the other, unset one"
        raise OptionError(option="[database] connection", problem=problem)
    if not _is_set(conf, "transport_url"):
        problem = (
            "it is not set, and the embedded bus of this service has no conductor on it; with "
            "[database] use_conductor = true, name the bus of the conductors"
        )
        raise OptionError(option="transport_url", problem=problem)


def _is_set(conf: cfg.ConfigOpts, name: str, group: str | None = None) -> bool:
    """Whether an option has another value than our default."""
    found = conf.get_location(name, group)
    defaults = {cfg.Locations.opt_default, cfg.Locations.set_default}
    return found is not None and found.location not in defaults


def _check_value(conf: cfg.ConfigOpts, group: str | None, name: str) -> None:
    value = read_value(conf, group, name)
    option = f"[{group}] {name}" if group else name
    is_path = name in {"state_path", "runtime_path", "touch_file"} and value is not None
    if is_path and not Path(value).is_absolute():
        raise OptionError(option=option, problem=f"{value} is not an absolute path")
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(option=option, problem=f"{value} is not a number of seconds")


def shown(opt: cfg.Opt, value: Any) -> str:
    """An option's value as `config show` prints it: no secrets, no passwords in URLs."""
    if value is not None and opt.secret:
        return mask_url(str(value)) if "://" in str(value) else "***"
    if isinstance(value, dict):
        return ",".join(f"{name}:{item}" for name, item in value.items())
    return "" if value is None else str(value)

"""Loads the configuration: files, credentials, defaults, checks.

Called in the master, before the first fork, and by commands. The options are in the global
`cfg.CONF`: oslo.messaging registers some of its options only there. Only cli, master and worker
get that object; all other modules get plain values.
"""

import os
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
from launcher.config.value_checks import check_value, check_values
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
    :raises ConfigSourceUnavailable: a source that the files name cannot be read.
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
    read_files(conf, binary, args, whole=False)
    _fill_in_paths(conf, binary)
    check_value(conf, None, "runtime_path")
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
    conf.default_config_files = file_contents.usual_files(binary)
    conf.default_config_dirs = file_contents.usual_directories(binary)


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


def shown(opt: cfg.Opt, value: Any) -> str:
    """An option's value as `config show` prints it: no secrets, no passwords in URLs."""
    if value is not None and opt.secret:
        return mask_url(str(value)) if "://" in str(value) else "***"
    if isinstance(value, dict):
        return ",".join(f"{name}:{item}" for name, item in value.items())
    return "" if value is None else str(value)

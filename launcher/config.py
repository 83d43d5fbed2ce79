"""Reading and checking of the configuration.

Called in the master, before the first fork, and by the client commands. The options live in the
global `cfg.CONF`, since oslo.messaging registers some of its own only there; nothing but the
assemblers (cli, master, worker) is handed the object, all others get plain values.
"""

import io
import math
import os
import re
import socket
from collections.abc import Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import oslo_messaging
from oslo_config import cfg
from oslo_log import log

from launcher import __version__, contents, paths
from launcher.contents import Place
from launcher.errors import ConfigError, OptionError, UsageError, one_line
from launcher.masking import mask_url
from launcher.options import GROUPS

EXCHANGE = "launcher"  # the default of control_exchange
LOG_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s %(actor)s%(message)s"
CONTEXT_LOG_FORMAT = LOG_FORMAT.replace("%(message)s", "[%(request_id)s] %(message)s")
CREDENTIALS = {"transport_url": None, "connection": "database"}  # option: its group

# What can change without a new process.
MUTABLE: frozenset[Place] = frozenset(
    {
        ("DEFAULT", "debug"),
        *(
            (group or "DEFAULT", opt.dest)
            for group, opts in GROUPS.items()
            for opt in opts
            if opt.mutable
        ),
    }
)


def register(conf: cfg.ConfigOpts) -> None:
    """Register our options and oslo.log's; oslo.messaging registers its own."""
    for group, opts in GROUPS.items():
        conf.register_opts(opts, group)
    log.register_options(conf)
    conf.set_default("logging_default_format_string", LOG_FORMAT)
    conf.set_default("logging_context_format_string", CONTEXT_LOG_FORMAT)
    # Registers transport_url; the default that it parses here is replaced by ours.
    oslo_messaging.TransportURL.parse(conf)
    conf.set_default("control_exchange", EXCHANGE)


def load(conf: cfg.ConfigOpts, binary: str, args: Sequence[str] = (), **overrides: object) -> None:
    """Read the files that `args` names (`--config-file=…`, `--config-dir=…`), or else those that
    are found by themselves; `overrides` are what the command line said, and outrank the files.

    :raises ConfigError: a file that is missing or does not parse, a value out of its range.
    :raises UsageError: an override that is no value of its option.
    """
    register(conf)
    try:
        _read(conf, binary, args)
        for option, value in overrides.items():
            _override(conf, option, value)
        _fill_in_defaults(conf, binary)
        take_credentials(conf)
        check_values(conf)
    except OptionError as error:
        raise _with_file(error, binary, args) from error


def _with_file(error: OptionError, binary: str, args: Sequence[str]) -> OptionError:
    """The same, with the file that the value comes from, if it does and the error does not say."""
    group, _, name = error.option.removeprefix("[").rpartition("] ")
    if name in contents.credentials():  # which outrank the files
        return error
    file = contents.file_of((group or "DEFAULT", name), binary, args)
    return (
        OptionError(option=f"{error.option} in {file}", problem=error.problem) if file else error
    )


def runtime_path(binary: str, args: Sequence[str] = ()) -> Path:
    """Where a service is to be asked: all else in the files may be wrong, since it runs with what
    it read before. For the arguments see `load`.

    :raises ConfigError: a file that is missing or does not parse, a path that is none.
    """
    conf = cfg.ConfigOpts()
    conf.register_opts(GROUPS[None])
    _read(conf, binary, args)
    _fill_in_paths(conf, binary)
    _check_value(conf, None, "runtime_path")
    return Path(conf.runtime_path)


def look_for_files(conf: cfg.ConfigOpts, binary: str) -> None:
    """Before it is reloaded: some of those that are found by themselves may be new, or gone."""
    conf.default_config_files = cfg.find_config_files(binary, binary)
    conf.default_config_dirs = cfg.find_config_dirs(binary, binary)


def _read(conf: cfg.ConfigOpts, binary: str, args: Sequence[str]) -> None:
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            conf(list(args), project=binary, prog=binary, version=__version__)
    except SystemExit as error:  # a wrong value of an option that oslo.log has on command lines
        raise _refused(" ".join(said.getvalue().split())) from error
    except cfg.ConfigFilesNotFoundError as error:
        raise ConfigError(
            problem=f"configuration file {', '.join(error.config_files)} cannot be read; "
            "name one that exists with --config-file"
        ) from error
    except cfg.ConfigDirNotFoundError as error:
        raise ConfigError(
            problem=f"configuration directory {error.config_dir} does not exist"
        ) from error
    except cfg.ConfigSourceValueError as error:
        raise _wrong_value("", error) from error
    except OSError as error:
        problem = f"configuration file {error.filename} cannot be read: {error.strerror}"
        raise ConfigError(problem=problem) from error
    except cfg.Error as error:
        raise ConfigError(problem=one_line(error)) from error
    except UnicodeDecodeError as error:
        named = [arg.partition("=")[2] for arg in args if arg.startswith("--config-file=")]
        files = " or ".join(named) or "one of those that are found by themselves"
        raise ConfigError(problem=f"configuration file {files} is no UTF-8: {error}") from error


def _refused(said: str) -> ConfigError:
    """What argparse said; of an option whose value is in a file."""
    if found := re.search(r"argument --([\w-]+): (.*)", said):
        return OptionError(option=found[1].replace("-", "_"), problem=found[2])
    return ConfigError(problem=said)


def _override(conf: cfg.ConfigOpts, option: str, value: object) -> None:
    try:
        conf.set_override(option, value)
    except ValueError as error:
        raise UsageError(problem=f"--{option} {value}: {one_line(error)}") from error


def _fill_in_defaults(conf: cfg.ConfigOpts, binary: str) -> None:
    """The URLs of the embedded bus and database come from the paths."""
    _set_default_host(conf, socket.gethostname())
    _fill_in_paths(conf, binary)
    database = Path(_value(conf, None, "state_path"), "launcher.sqlite")
    conf.set_default("connection", _plain(f"sqlite:///{database}"), group="database")
    conf.set_default("transport_url", _plain(f"unix://{_value(conf, None, 'runtime_path')}/bus"))


def _fill_in_paths(conf: cfg.ConfigOpts, binary: str) -> None:
    """From systemd or XDG."""
    conf.set_default("state_path", _plain(str(paths.state_path(os.environ, binary))))
    conf.set_default("runtime_path", _plain(str(paths.runtime_path(os.environ, binary))))


def _set_default_host(conf: cfg.ConfigOpts, name: str) -> None:
    try:
        conf.set_default("host", name)
    except ValueError as error:
        if _value(conf, None, "host") is None:
            problem = f"this machine's name {name!r} cannot be used; set another one"
            raise OptionError(option="host", problem=problem) from error


def _plain(text: str) -> str:
    """For a value that is to be taken as it is: oslo.config puts options in place of $names."""
    return text.replace("$", "$$")


def take_credentials(conf: cfg.ConfigOpts) -> None:
    """systemd.exec(5), LoadCredential=: secrets come as files; they outrank the configuration.

    :raises ConfigError: one that cannot be read.
    """
    for option, text in contents.credentials().items():
        conf.set_override(option, _plain(text), group=CREDENTIALS[option])


def check_values(conf: cfg.ConfigOpts) -> None:
    """Raise OptionError for a value that is wrong by itself or beside another one."""
    for group, opts in GROUPS.items():
        for opt in opts:
            _check_value(conf, group, opt.dest)
    if "://" not in _value(conf, None, "transport_url"):
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
    for name, seconds in conf.periodic_tasks.spacing.items():
        if not _is_number(seconds):
            raise OptionError(
                option=f"[periodic_tasks] spacing, task {name}",
                problem=f"{seconds!r} is not a number of seconds",
            )


def _check_value(conf: cfg.ConfigOpts, group: str | None, name: str) -> None:
    value = _value(conf, group, name)
    if name in {"state_path", "runtime_path"} and not Path(value).is_absolute():
        raise OptionError(option=name, problem=f"{value} is not an absolute path")
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(option=name, problem=f"{value} is not a number of seconds")


def _value(conf: cfg.ConfigOpts, group: str | None, name: str) -> Any:
    try:
        return conf[group][name] if group else conf[name]
    except cfg.ConfigSourceValueError as error:  # oslo.config converts when a value is read
        raise _wrong_value(name, error) from error
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError) as error:
        raise OptionError(
            option=name,
            problem="its value has a $ before what is no option's name; write $$ for a plain $",
        ) from error


def _wrong_value(name: str, error: cfg.ConfigSourceValueError) -> OptionError:
    """oslo.config's message shows the place as a repr; say it as a person would."""
    text = one_line(error)
    name = name or text.removeprefix("Value for option ").partition(" ")[0]
    place = re.search(r"detail='([^']*)'", text)
    option = f"{name} in {place[1]}" if place else name
    return OptionError(option=option, problem=text.rpartition("is not valid: ")[2])


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?", text.strip()) is not None


def shown(opt: cfg.Opt, value: Any) -> str:
    """An option's value as `config show` prints it: URLs without passwords, no other secret."""
    if value is not None and opt.secret:
        return mask_url(str(value)) if "://" in str(value) else "***"
    if isinstance(value, dict):
        return ",".join(f"{name}:{item}" for name, item in value.items())
    return "" if value is None else str(value)

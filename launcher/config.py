"""Every option, with its unit, minimum and help; reading and checking of the configuration.

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

from launcher import __version__, paths
from launcher.errors import ConfigError, OptionError, UsageError
from launcher.masking import mask_url

__all__ = ["check_values", "list_opts", "load", "mask_url", "one_line", "register", "shown"]

DEFAULT_OPTS = [
    cfg.HostDomainOpt(
        "host",
        sample_default="<host name>",
        help="Name of this host: the RPC server's name and the key of its rows in the registry.",
    ),
    cfg.IntOpt(
        "workers",
        default=len(os.sched_getaffinity(0)),
        sample_default="<processors available>",
        min=1,
        max=400,
        help="Number of worker processes.",
    ),
    cfg.StrOpt(
        "manager",
        help="The application to run: a name of the entry-point group launcher.managers, or "
        "package.module:Class. By default the script's name without '-launcher'.",
    ),
    cfg.StrOpt(
        "state_path",
        sample_default="$STATE_DIRECTORY, else $XDG_STATE_HOME/<binary>",
        help="Directory of what outlives a restart: the embedded database.",
    ),
    cfg.StrOpt(
        "runtime_path",
        sample_default="$RUNTIME_DIRECTORY, else $XDG_RUNTIME_DIR/<binary>",
        help="Directory of what does not: locks, sockets and the embedded bus. One running "
        "service a directory.",
    ),
    cfg.IntOpt(
        "report_interval",
        default=10,
        min=1,
        help="Seconds between two reports of this host to the services table.",
    ),
    cfg.IntOpt(
        "service_down_time",
        default=60,
        min=2,
        help="Seconds after its last report from which a service counts as down. Has to be "
        "larger than report_interval.",
    ),
    cfg.BoolOpt("periodic_enable", default=True, help="Run the manager's periodic tasks."),
    cfg.IntOpt(
        "periodic_fuzzy_delay",
        default=60,
        min=0,
        help="Seconds: the first run of each periodic task is delayed at random by up to so "
        "much, so that a fleet started at once does not stampede. 0: no delay.",
    ),
    cfg.IntOpt(
        "periodic_interval_max",
        min=1,
        help="Seconds: an upper bound on the spacing of every periodic task. Unset: none.",
    ),
    cfg.IntOpt(
        "start_timeout",
        default=90,
        min=1,
        help="Seconds that a worker may take for one step of its start, waiting for bus or "
        "database included.",
    ),
    cfg.IntOpt(
        "graceful_shutdown_timeout",
        default=180,
        min=0,
        help="Seconds that a stop waits for calls in hand before it kills. 0: without end.",
    ),
    cfg.IntOpt(
        "manager_shutdown_timeout",
        default=160,
        min=0,
        help="Seconds of the above that the manager's own graceful_shutdown may take.",
    ),
    cfg.BoolOpt(
        "backdoor",
        default=False,
        help="Open a Python console into each worker on a unix socket "
        "<runtime_path>/backdoor.<slot>, for whoever may write there. For debugging only.",
    ),
]

DATABASE_OPTS = [
    cfg.StrOpt(
        "connection",
        secret=True,
        sample_default="sqlite:///<state_path>/launcher.sqlite",
        help="SQLAlchemy URL of the registry. The default is made and migrated by itself.",
    ),
]

HEALTH_OPTS = [
    cfg.FloatOpt(
        "beat_timeout",
        default=30,
        min=1,
        help="Seconds without a round of a worker's periodic loop from which it is late.",
    ),
    cfg.FloatOpt(
        "probe_interval",
        default=30,
        min=1,
        help="Seconds between two round trips of a worker to itself through the bus.",
    ),
    cfg.FloatOpt(
        "probe_timeout",
        default=10,
        min=0.1,
        help="Seconds that such a round trip may take.",
    ),
]

SUPERVISION_OPTS = [
    cfg.IntOpt(
        "restart_limit",
        default=5,
        min=0,
        help="Deaths of one worker within restart_window seconds before the master gives up.",
    ),
    cfg.FloatOpt("restart_window", default=120, min=1, help="Seconds; see restart_limit."),
    cfg.FloatOpt(
        "stable_after",
        default=30,
        min=0,
        help="Seconds of serving after which a worker's death is not counted and it is replaced "
        "at once.",
    ),
    cfg.FloatOpt(
        "backoff_max",
        default=30,
        min=0,
        help="Seconds: the longest pause before a worker that keeps dying is started again.",
    ),
]

PERIODIC_OPTS = [
    cfg.DictOpt(
        "spacing",
        default={},
        help="Seconds between two runs, by task: 'name:seconds, name:seconds'. Overrides what "
        "the manager says; a negative number disables the task.",
    ),
]

GROUPS: dict[str | None, Sequence[cfg.Opt]] = {
    None: DEFAULT_OPTS,
    "database": DATABASE_OPTS,
    "health": HEALTH_OPTS,
    "supervision": SUPERVISION_OPTS,
    "periodic_tasks": PERIODIC_OPTS,
}

LOG_FORMAT = "%(asctime)s.%(msecs)03d %(levelname)-7s %(name)s %(actor)s%(message)s"
CONTEXT_LOG_FORMAT = LOG_FORMAT.replace("%(message)s", "[%(request_id)s] %(message)s")
CREDENTIALS = {"transport_url": None, "connection": "database"}  # option: its group
CREDENTIAL_FILES = {"transport_url": "transport_url", "connection": "database_connection"}


def list_opts() -> list[tuple[str | None, Sequence[cfg.Opt]]]:
    """Entry point `oslo.config.opts`, for the generated sample."""
    return list(GROUPS.items())


def register(conf: cfg.ConfigOpts) -> None:
    """Register our options and oslo.log's; oslo.messaging registers its own."""
    for group, opts in GROUPS.items():
        conf.register_opts(opts, group)
    log.register_options(conf)
    conf.set_default("logging_default_format_string", LOG_FORMAT)
    conf.set_default("logging_context_format_string", CONTEXT_LOG_FORMAT)
    oslo_messaging.set_transport_defaults("launcher")
    # Registers transport_url; the default that it parses here is replaced by ours.
    oslo_messaging.TransportURL.parse(conf)


def load(conf: cfg.ConfigOpts, binary: str, args: Sequence[str] = (), **overrides: object) -> None:
    """Read the files that `args` names (`--config-file=…`, `--config-dir=…`), or else those that
    are found by themselves; `overrides` are what the command line said, and outrank the files.

    :raises ConfigError: a file that is missing or does not parse, a value out of its range.
    :raises UsageError: an override that is no value of its option.
    """
    register(conf)
    _read(conf, binary, args)
    for option, value in overrides.items():
        _override(conf, option, value)
    _fill_in_defaults(conf, binary)
    _take_credentials(conf, os.environ.get("CREDENTIALS_DIRECTORY"))
    check_values(conf)


def _read(conf: cfg.ConfigOpts, binary: str, args: Sequence[str]) -> None:
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            conf(list(args), project=binary, prog=binary, version=__version__)
    except SystemExit as error:  # a wrong value of an option that oslo.log has on command lines
        raise ConfigError(problem=" ".join(said.getvalue().split())) from error
    except cfg.ConfigFilesNotFoundError as error:
        raise ConfigError(
            problem=f"configuration file {', '.join(error.config_files)} cannot be read; "
            "name one that exists with --config-file"
        ) from error
    except cfg.ConfigDirNotFoundError as error:
        raise ConfigError(
            problem=f"configuration directory {error.config_dir} does not exist"
        ) from error
    except cfg.ConfigFileValueError as error:
        raise _wrong_value("", error) from error
    except (cfg.Error, OSError) as error:
        raise ConfigError(problem=one_line(error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(problem=f"a configuration file is no UTF-8: {error}") from error


def _override(conf: cfg.ConfigOpts, option: str, value: object) -> None:
    try:
        conf.set_override(option, value)
    except ValueError as error:
        raise UsageError(problem=f"--{option} {value}: {one_line(error)}") from error


def _fill_in_defaults(conf: cfg.ConfigOpts, binary: str) -> None:
    """Paths come from systemd or XDG, the URLs of the embedded bus and database from the paths."""
    _set_default_host(conf, socket.gethostname())
    conf.set_default("state_path", _plain(str(paths.state_path(os.environ, binary))))
    conf.set_default("runtime_path", _plain(str(paths.runtime_path(os.environ, binary))))
    database = Path(_value(conf, None, "state_path"), "launcher.sqlite")
    conf.set_default("connection", _plain(f"sqlite:///{database}"), group="database")
    conf.set_default("transport_url", _plain(f"unix://{_value(conf, None, 'runtime_path')}/bus"))


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


def _take_credentials(conf: cfg.ConfigOpts, directory: str | None) -> None:
    """systemd.exec(5), LoadCredential=: secrets come as files; they outrank the configuration."""
    if directory is None:
        return
    for option, group in CREDENTIALS.items():
        file = Path(directory, CREDENTIAL_FILES[option])
        if file.is_file():
            conf.set_override(option, _plain(_read_credential(file)), group=group)


def _read_credential(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            problem=f"credential {file} cannot be read: {one_line(error)}"
        ) from error
    if not text:
        raise ConfigError(problem=f"credential {file} is empty")
    return text


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
    except cfg.ConfigFileValueError as error:  # oslo.config converts when a value is read
        raise _wrong_value(name, error) from error
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError) as error:
        raise OptionError(
            option=name,
            problem="its value has a $ before what is no option's name; write $$ for a plain $",
        ) from error


def _wrong_value(name: str, error: cfg.ConfigFileValueError) -> OptionError:
    """oslo.config's message shows the place as a repr; say it as a person would."""
    text = one_line(error)
    name = name or text.removeprefix("Value for option ").partition(" ")[0]
    place = re.search(r"detail='([^']*)'", text)
    option = f"{name} in {place[1]}" if place else name
    return OptionError(option=option, problem=text.rpartition("is not valid: ")[2])


def _is_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d*)?", text.strip()) is not None


def one_line(error: BaseException) -> str:
    """An exception's text as a part of one sentence."""
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def shown(opt: cfg.Opt, value: Any) -> str:
    """An option's value as `config show` prints it: URLs without passwords, no other secret."""
    if value is not None and opt.secret:
        return mask_url(str(value)) if "://" in str(value) else "***"
    if isinstance(value, dict):
        return ",".join(f"{name}:{item}" for name, item in value.items())
    return "" if value is None else str(value)

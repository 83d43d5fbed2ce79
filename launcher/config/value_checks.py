"""Checks of the configuration's values: a start with a wrong one would fail, or do harm, later."""

import math
import re
import socket
from pathlib import Path

from oslo_config import cfg

from launcher.config import registered
from launcher.config.options import GROUPS
from launcher.config.reading import read_value, shown_name
from launcher.errors import OptionError

MOST_PORT = 65535  # 16 bits


def check_values(conf: cfg.ConfigOpts) -> None:
    """Raise OptionError for a wrong value, or for values that contradict each other."""
    for group, opts in GROUPS.items():
        for opt in opts:
            check_value(conf, group, opt.dest)
    registered.check(conf)  # libraries' too: a variable's value is converted when it is read
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
    _check_range(conf)
    _check_conductor(conf)
    _check_log_rotation(conf)
    for name, seconds in conf.periodic_tasks.spacing.items():
        if not re.fullmatch(r"[+-]?\d+(\.\d*)?", seconds.strip()):
            raise OptionError(
                option=f"[periodic_tasks] spacing, task {name}",
                problem=f"{seconds!r} is not a number of seconds",
            )


def _check_range(conf: cfg.ConfigOpts) -> None:
    least, most = conf.supervision.workers_min, conf.supervision.workers_max
    if bool(least) != bool(most):
        names = "workers_max", "workers_min"
        missing, other = names if least else reversed(names)
        problem = f"it is not set, and {other} is; set both, or neither"
        raise OptionError(option=f"[supervision] {missing}", problem=problem)
    if least > most:
        problem = f"{most} is less than workers_min = {least}"
        raise OptionError(option="[supervision] workers_max", problem=problem)


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


def _check_log_rotation(conf: cfg.ConfigOpts) -> None:
    """Every process writes the file, and each would rotate it, away from the others."""
    if conf.log_rotation_type != "none" and (conf.log_file or conf.log_dir):
        problem = (
            f"{conf.log_rotation_type}: several processes write this log, and each would rotate "
            "it; leave it at none and have the file renamed, as logrotate does: a new one is made "
            "at once"
        )
        raise OptionError(option="log_rotation_type", problem=problem)


def _is_set(conf: cfg.ConfigOpts, name: str, group: str | None = None) -> bool:
    """Whether an option has another value than our default."""
    found = conf.get_location(name, group)
    defaults = {cfg.Locations.opt_default, cfg.Locations.set_default}
    return found is not None and found.location not in defaults


def check_value(conf: cfg.ConfigOpts, group: str | None, name: str) -> None:
    """As `check_values`, for one of our options."""
    value = read_value(conf, group, name)
    option = shown_name(group, name)
    is_path = name in {"state_path", "runtime_path", "touch_file"} and value is not None
    if is_path and not Path(value).is_absolute():
        raise OptionError(option=option, problem=f"{value} is not an absolute path")
    if name == "listen" and value is not None:
        _check_address(option, value)
    if isinstance(value, float) and not math.isfinite(value):
        raise OptionError(option=option, problem=f"{value} is not a number of seconds")


def _check_address(option: str, address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        if host.startswith("["):
            socket.inet_pton(socket.AF_INET6, host.strip("[]"))
        else:
            socket.inet_aton(host)
    except OSError as error:
        raise OptionError(option=option, problem=f"{host} is no IP address") from error
    if int(port) > MOST_PORT:
        raise OptionError(option=option, problem=f"{port} is no port; the last one is {MOST_PORT}")

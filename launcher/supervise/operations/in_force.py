"""The configuration in force, and the checks of a new one in the files."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from oslo_config import cfg

from launcher.config import file_contents, loader, registered, unknown_options, value_checks
from launcher.config.options import GROUPS
from launcher.errors import ConfigError, ConfigurationChanged, OptionError
from launcher.serve import inherited_transport, profiling, rpc
from launcher.serve.application import Application
from launcher.writing import log

LOG = logging.getLogger(__name__)

# Group and name of options that a reload cannot change. They say where the service is reached, so
# all workers must have the same; or the master has done something by them before its first fork.
FIXED: tuple[tuple[str | None, str], ...] = (
    (None, "host"),
    (None, "state_path"),
    (None, "runtime_path"),
    (None, "transport_url"),
    ("metrics", "listen"),
    ("health", "listen"),
    ("health", "touch_file"),
    ("supervision", "immortal_objects"),
)


class Configuration:
    """One a master. Its methods may be called by one thread at a time.

    A worker also calls `take` and `mutate`; they change only the worker's memory then.
    """

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        binary: str,
        application: Application,
        args: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        """The arguments are those with which `loader.load` was called, beside the application.

        :ivar args: arguments of the command line that name configuration files.
        """
        self._conf = conf
        self._binary = binary
        self._application = application
        self.args = args
        self._overrides = overrides or {}
        self._in_force = self._checked = file_contents.read(binary, args)
        self.generation = 1  # of the configuration in force in this process; `take` raises it
        self._attempts = 1

    @property
    def workers(self) -> int | None:
        """The configured number of workers; None: as many as the program wants."""
        if self._application.sized and not loader.is_given(self._conf, "workers"):
            return None
        return int(self._conf.workers)

    @property
    def host(self) -> str:
        """The host of the service."""
        return str(self._conf.host)

    def check(self) -> bool:
        """Read and check the files; return whether workers have to be replaced.

        They are also replaced when no option has changed: then the reload is for another change,
        such as a new certificate.

        :raises LauncherError: the configuration is wrong, or an option changed that cannot change
            while the service runs.
        """
        self._checked = file_contents.read(self._binary, self.args)
        self._attempts += 1
        conf = cfg.ConfigOpts()
        loader.load(conf, self._binary, self.args, **self._overrides)
        if conf.config_source or self._conf.config_source:
            # `reload_config_files` of oslo.config 10.7.0 reads files only.
            problem = "a reload cannot read a source again; restart the service"
            raise OptionError(option="config_source", problem=problem)
        changed = file_contents.differences(self._in_force, self._checked)
        fixed = [place for place in FIXED if _value(conf, *place) != _value(self._conf, *place)]
        for group, name in [*fixed, *sorted(changed & log.fixed_options())]:
            option = f"[{group}] {name}" if group in GROUPS and group else name
            problem = "it cannot change while the service runs; restart the service"
            raise OptionError(option=option, problem=problem)
        in_any_case = self._application.check(conf)
        registered.adopt(conf, self._conf)
        registered.check(conf)
        self.warn()
        return in_any_case or not changed or not changed <= loader.MUTABLE

    def warn(self) -> None:
        """Log what is in the files and no option has, once the application is imported."""
        for sentence in unknown_options.sentences(self._conf, self._checked):
            LOG.warning("%s", sentence)

    def mutate(self) -> None:
        """Put the options in force that can change without a new process."""
        loader.look_for_files(self._conf, self._binary)
        self._conf.mutate_config_files()
        log.set_level(self._conf)
        self._in_force = self._checked

    def take(self) -> None:
        """Put the checked configuration in force, for this process and its later forks.

        :raises ConfigError: the files have changed since, or cannot be read.
        """
        if file_contents.read(self._binary, self.args) != self._checked:
            raise ConfigurationChanged
        loader.look_for_files(self._conf, self._binary)
        inherited_transport.forget()
        if not self._conf.reload_config_files():  # oslo.config has logged why
            raise ConfigError(problem="the configuration files cannot be read any more")
        profiling.register(self._conf, file_contents.sections(self._checked))
        loader.take_credentials(self._conf)
        value_checks.check_values(self._conf)
        self.mutate()
        self.generation = self._attempts


def _value(conf: cfg.ConfigOpts, group: str | None, name: str) -> object:
    if name == "transport_url":
        return _bus(conf)
    return conf[group][name] if group else conf[name]


def _bus(conf: cfg.ConfigOpts) -> object:
    """The transport_url without user and password, which a reload may change."""
    url = rpc.parse_url(conf)
    hosts = [(host.hostname, host.port) for host in url.hosts]
    return url.transport, url.virtual_host, hosts, url.query

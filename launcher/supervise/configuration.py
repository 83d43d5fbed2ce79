"""The configuration in force, and the one that is in the files while the service runs."""

from collections.abc import Mapping, Sequence
from typing import Any

from oslo_config import cfg

from launcher import config, contents, log
from launcher.errors import ConfigError, ConfigurationChanged, OptionError
from launcher.options import GROUPS
from launcher.serve import loading, profiling

# Of a group each. Where the service is to be found, and by whom: workers that differ in these are
# no siblings. And what the master has opened at its start.
FIXED: tuple[tuple[str | None, str], ...] = (
    (None, "host"),
    (None, "state_path"),
    (None, "runtime_path"),
    (None, "transport_url"),
    ("metrics", "listen"),
)


class Configuration:
    """One a master. Its methods are for one thread at a time; `take` and `mutate` also for a
    worker, whose memory they change."""

    def __init__(
        self,
        conf: cfg.ConfigOpts,
        binary: str,
        args: Sequence[str] = (),
        overrides: Mapping[str, Any] | None = None,
    ) -> None:
        """See config.load, which has been called with the same."""
        self._conf = conf
        self._binary = binary
        self._args = args
        self._overrides = overrides or {}
        self._in_force = self._checked = contents.read(binary, args)

    @property
    def workers(self) -> int:
        """How many are configured."""
        return int(self._conf.workers)

    def check(self) -> bool:
        """Read what is in the files; whether workers have to be replaced for it. So they have when
        nothing has changed: whoever asks then has something else in mind, a certificate perhaps.

        :raises LauncherError: it is wrong, or cannot change while the service runs.
        """
        self._checked = contents.read(self._binary, self._args)
        conf = cfg.ConfigOpts()
        config.load(conf, self._binary, self._args, **self._overrides)
        changed = contents.differences(self._in_force, self._checked)
        fixed = [place for place in FIXED if _value(conf, *place) != _value(self._conf, *place)]
        for group, name in [*fixed, *sorted(changed & log.fixed_options())]:
            option = f"[{group}] {name}" if group in GROUPS and group else name
            problem = "it cannot change while the service runs; restart the service"
            raise OptionError(option=option, problem=problem)
        loading.manager_class(conf.manager, self._binary)
        loading.preload(conf)
        return not changed or not changed <= config.MUTABLE

    def mutate(self) -> None:
        """Put what can change without a new process in force."""
        config.look_for_files(self._conf, self._binary)
        self._conf.mutate_config_files()
        log.set_level(self._conf)
        self._in_force = self._checked

    def take(self) -> None:
        """Put all that has been checked in force, for this process and those that it forks.

        :raises ConfigError: it has changed since.
        """
        if contents.read(self._binary, self._args) != self._checked:
            raise ConfigurationChanged
        config.look_for_files(self._conf, self._binary)
        if not self._conf.reload_config_files():  # oslo.config has logged why
            raise ConfigError(problem="the configuration files cannot be read any more")
        profiling.register(self._conf, contents.sections(self._checked))
        config.take_credentials(self._conf)
        config.check_values(self._conf)
        self.mutate()


def _value(conf: cfg.ConfigOpts, group: str | None, name: str) -> object:
    return conf[group][name] if group else conf[name]

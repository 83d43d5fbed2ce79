"""The options that are registered: ours, those of libraries, and those of a manager.

Uses a private name of oslo.config: `_get_opt_info`. It has no public way from an option's name to
the option.
"""

from collections.abc import Iterator

from oslo_config import cfg

from launcher.config.file_contents import OptionKey
from launcher.config.reading import read_value, shown_name
from launcher.errors import OptionError

Group = str | None


def options(conf: cfg.ConfigOpts) -> dict[OptionKey, cfg.Opt]:
    """All options that are registered so far."""
    return {(group or "DEFAULT", name): opt for group, name, opt in _walk(conf)}


def adopt(conf: cfg.ConfigOpts, other: cfg.ConfigOpts) -> None:
    """Register what `other` has beyond `conf`: a manager's options are in the global one only."""
    known = options(conf)
    for group, name, opt in _walk(other):
        if (group or "DEFAULT", name) not in known:
            conf.register_opt(opt, group)


def check(conf: cfg.ConfigOpts) -> None:
    """Read each value; it is converted only then.

    :raises OptionError: one is wrong, or a required one is not set. oslo.config looks for those
        when it reads the files; a manager's may be registered after that.
    """
    for group, name, opt in _walk(conf):
        if read_value(conf, group, name) is None and opt.required:
            problem = "it is required, and is not set"
            raise OptionError(option=shown_name(group, name), problem=problem)


def explained(conf: cfg.ConfigOpts, error: BaseException) -> BaseException:
    """OptionError in place of oslo.config's error about a value that foreign code has read; else
    the error itself."""
    if isinstance(error, cfg.ConfigSourceValueError):
        try:
            check(conf)
        except OptionError as ours:
            return ours
    return error


def _walk(conf: cfg.ConfigOpts) -> Iterator[tuple[Group, str, cfg.Opt]]:
    for name in conf:
        try:
            yield None, name, conf._get_opt_info(name)["opt"]
        except cfg.NoSuchOptError:  # it is a group
            for inner in conf[name]:
                yield name, inner, conf._get_opt_info(inner, name)["opt"]

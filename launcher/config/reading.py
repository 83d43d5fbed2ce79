"""Reads configuration files and values by oslo.config, and translates its errors into ours.

This module knows the texts of oslo.config's errors; no other one does.
"""

import io
import logging
import re
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import Any, Self

from oslo_config import cfg

from launcher import __version__
from launcher.config import file_contents
from launcher.errors import ConfigError, ConfigFileMissing, ConfigSourceUnavailable, OptionError
from launcher.exception_text import one_line

_AWAY = "could not load configuration from "
# What Python and oslo.config say of a value, and what an operator would.
_PLAIN = (
    (r"invalid literal for int\(\) with base 10: (.*)", r"\1 is no whole number"),
    (r"could not convert string to float: (.*)", r"\1 is no number"),
    (
        r"(?:Unexpected boolean value|Invalid Boolean value:) '?(.*?)'?",
        r"'\1' is neither true nor false",
    ),
)
_OSLO_LOG = logging.getLogger(cfg.__name__)


def read_files(
    conf: cfg.ConfigOpts, binary: str, args: Sequence[str], *, whole: bool = True
) -> None:
    """Read the files of `loader.load`, and the sources that they name (option config_source).

    :param whole: whether a source that is away is an error. oslo.config 10.7.0 logs it, and goes
        on with defaults.
    :raises ConfigError: a file is missing or does not parse, or a value is wrong.
    :raises ConfigSourceUnavailable: a source cannot be read.
    """
    with _MissingSources() as missing:
        _read_files(conf, binary, args)
    if whole and missing.texts:
        raise ConfigSourceUnavailable(problem=missing.texts[0])


def _read_files(conf: cfg.ConfigOpts, binary: str, args: Sequence[str]) -> None:
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            conf(
                list(args),
                project=binary,
                prog=binary,
                version=__version__,
                default_config_files=file_contents.usual_files(binary),
                default_config_dirs=file_contents.usual_directories(binary),
            )
    except SystemExit as error:  # a wrong value of an option that has an argument too
        raise _refused(" ".join(said.getvalue().split())) from error
    except cfg.ConfigFilesNotFoundError as error:
        path = ", ".join(error.config_files)
        raise ConfigFileMissing(kind="file", path=path, option="file") from error
    except cfg.ConfigDirNotFoundError as error:
        path = error.config_dir
        raise ConfigFileMissing(kind="directory", path=path, option="dir") from error
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


class _MissingSources:
    """Takes what oslo.config logs about sources that it cannot read."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def __enter__(self) -> Self:
        _OSLO_LOG.addFilter(self.take)
        return self

    def __exit__(self, *_: object) -> None:
        _OSLO_LOG.removeFilter(self.take)

    def take(self, record: logging.LogRecord) -> bool:
        """A filter: whether the record goes on to the handlers."""
        text = " ".join(record.getMessage().split())
        ours = text.startswith(_AWAY)
        if ours:
            self.texts.append(text.removeprefix(_AWAY))
        return not ours


def _refused(said: str) -> ConfigError:
    """The error of a text that argparse wrote about a value in a file."""
    if found := re.search(r"argument --([\w-]+): (.*)", said):
        return OptionError(option=found[1].replace("-", "_"), problem=_in_plain_words(found[2]))
    return ConfigError(problem=said)


def shown_name(group: str | None, name: str) -> str:
    """An option, as errors name it."""
    return f"[{group}] {name}" if group else name


def read_value(conf: cfg.ConfigOpts, group: str | None, name: str) -> Any:
    """The value of an option. :raises OptionError: it is wrong; it is converted only now."""
    try:
        return conf[group][name] if group else conf[name]
    except cfg.ConfigSourceValueError as error:
        raise _wrong_value(name, error, group) from error
    except (cfg.NoSuchOptError, cfg.TemplateSubstitutionError) as error:
        raise OptionError(
            option=shown_name(group, name),
            problem="its value has a $ before what is no option's name; write $$ for a plain $",
        ) from error


def _wrong_value(
    name: str, error: cfg.ConfigSourceValueError, group: str | None = None
) -> OptionError:
    """Our error for a value that cannot be converted. oslo.config shows the file as a repr, and
    names it even if an environment variable gives the value."""
    text = one_line(error)
    name = name or text.removeprefix("Value for option ").partition(" ")[0]
    place = re.search(r"detail='([^']*)'", text)
    source = file_contents.variable_of((group or "DEFAULT", name)) or (place and place[1])
    name = shown_name(group, name)
    option = f"{name} in {source}" if source else name
    return OptionError(
        option=option, problem=_in_plain_words(text.rpartition("is not valid: ")[2])
    )


def _in_plain_words(problem: str) -> str:
    for pattern, plain in _PLAIN:
        if found := re.fullmatch(pattern, problem):
            return found.expand(plain)
    return problem

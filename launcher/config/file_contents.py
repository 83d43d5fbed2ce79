"""The present content of the configuration files and credentials, not interpreted."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from oslo_config import cfg

from launcher.directories import locations
from launcher.errors import ConfigError
from launcher.exception_text import one_line

FILES_OF_CREDENTIALS = {"transport_url": "transport_url", "connection": "database_connection"}

OptionKey = tuple[str, str]  # section and name of an option


def read(binary: str, args: Sequence[str] = ()) -> dict[OptionKey, object]:
    """All options in the files and credentials, those of libraries included. A reload compares
    them with the last ones. For the arguments see `loader.load`.

    :raises ConfigError: a file or credential cannot be read.
    """
    found: dict[OptionKey, object] = {}
    for file in files(binary, args):
        found |= _parse(file)
    return found | {("credential", name): text for name, text in credentials().items()}


def file_of(key: OptionKey, binary: str, args: Sequence[str] = ()) -> str | None:
    """The file that sets an option, the last one if several do. Raises as `read`."""
    return next((file for file in reversed(files(binary, args)) if key in _parse(file)), None)


def variable_of(key: OptionKey) -> str | None:
    """The environment variable that sets an option, if it is set; it outranks the files."""
    section, name = key
    variable = f"OS_{section.upper()}__{name.upper()}"  # as oslo.config names it
    return variable if variable in os.environ else None


def _parse(file: str) -> dict[OptionKey, object]:
    sections: dict[str, dict[str, object]] = {}
    try:
        cfg.ConfigParser(file, sections).parse()
    except cfg.ParseError as error:  # the message that oslo.config has for it
        problem = one_line(cfg.ConfigFileParseError(file, str(error)))
        raise ConfigError(problem=problem) from error
    except (OSError, UnicodeDecodeError) as error:
        problem = f"configuration file {file} cannot be read: {one_line(error)}"
        raise ConfigError(problem=problem) from error
    return {
        (section, name): value for section in sections for name, value in sections[section].items()
    }


def sections(contents: dict[OptionKey, object]) -> set[str]:
    """The names of the sections that have options."""
    return {section for section, _ in contents}


def differences(one: dict[OptionKey, object], other: dict[OptionKey, object]) -> set[OptionKey]:
    """The options that differ between two contents."""
    missing = object()
    return {
        key
        for key in one.keys() | other.keys()
        if one.get(key, missing) != other.get(key, missing)
    }


def credentials() -> dict[str, str]:
    """The texts of the systemd credentials, by option: LoadCredential= of systemd.exec(5).

    :raises ConfigError: a credential cannot be read.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory is None:
        return {}
    files = {option: Path(directory, name) for option, name in FILES_OF_CREDENTIALS.items()}
    texts = {option: _read_credential(file) for option, file in files.items()}
    return {option: text for option, text in texts.items() if text is not None}


def usual_files(binary: str) -> list[str]:
    """The files that are read if none is named. The last one outranks the others."""
    found = cfg.find_config_files(binary, binary)
    return [*locations.shipped_files(binary), *dict.fromkeys(found)]


def usual_directories(binary: str) -> list[str]:
    """The directories whose files are read if none is named.

    oslo.config 10.7.0 looks for those of the project and of the program, and finds one of both
    twice. Read twice, a MultiOpt has its values twice.
    """
    return list(dict.fromkeys(cfg.find_config_dirs(binary, binary)))


def files(binary: str, args: Sequence[str] = ()) -> list[str]:
    """The files that `loader.load` reads; the last one outranks the others. Named files replace
    those of the usual places; so do named directories."""
    # As oslo.config does. Path.expanduser() raises for an unknown user.
    named = [os.path.expanduser(arg.partition("=")[2]) for arg in args]  # noqa: PTH111
    kinds = [arg.partition("=")[0] for arg in args]
    found = [path for kind, path in zip(kinds, named, strict=True) if kind == "--config-file"]
    directories = [path for kind, path in zip(kinds, named, strict=True) if kind == "--config-dir"]
    found = found or usual_files(binary)
    directories = directories or usual_directories(binary)
    inside = [sorted(Path(directory).glob("*.conf")) for directory in directories]
    return [*found, *(str(file) for file in chain.from_iterable(inside))]


def _read_credential(file: Path) -> str | None:
    try:
        text = file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            problem=f"credential {file} cannot be read: {one_line(error)}"
        ) from error
    if not text:
        raise ConfigError(problem=f"credential {file} is empty")
    return text

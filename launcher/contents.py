"""What the configuration files and credentials say at this moment, whoever understands it."""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from oslo_config import cfg

from launcher.errors import ConfigError, one_line

FILES_OF_CREDENTIALS = {"transport_url": "transport_url", "connection": "database_connection"}

Place = tuple[str, str]  # of an option in the files: section and name


def read(binary: str, args: Sequence[str] = ()) -> dict[Place, object]:
    """What the files and credentials say at this moment, options of libraries included; to be
    compared with what they said before. For the arguments see `config.load`.

    :raises ConfigError: one cannot be read.
    """
    found: dict[Place, object] = {}
    for file in _files(binary, args):
        found |= _parse(file)
    return found | {("credential", name): text for name, text in credentials().items()}


def file_of(place: Place, binary: str, args: Sequence[str] = ()) -> str | None:
    """The file whose word on an option counts, of those that `read` reads; raises the same."""
    return next((file for file in reversed(_files(binary, args)) if place in _parse(file)), None)


def _parse(file: str) -> dict[Place, object]:
    sections: dict[str, dict[str, object]] = {}
    try:
        cfg.ConfigParser(file, sections).parse()
    except cfg.ParseError as error:  # as oslo.config says it when it reads for itself
        problem = one_line(cfg.ConfigFileParseError(file, str(error)))
        raise ConfigError(problem=problem) from error
    except (OSError, UnicodeDecodeError) as error:
        problem = f"configuration file {file} cannot be read: {one_line(error)}"
        raise ConfigError(problem=problem) from error
    return {
        (section, name): value for section in sections for name, value in sections[section].items()
    }


def sections(contents: dict[Place, object]) -> set[str]:
    """The names of all that have something in them."""
    return {section for section, _ in contents}


def differences(one: dict[Place, object], other: dict[Place, object]) -> set[Place]:
    """Where two contents are not the same."""
    missing = object()
    return {
        place
        for place in one.keys() | other.keys()
        if one.get(place, missing) != other.get(place, missing)
    }


def credentials() -> dict[str, str]:
    """By option; systemd.exec(5), LoadCredential=.

    :raises ConfigError: one cannot be read.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if directory is None:
        return {}
    files = {option: Path(directory, name) for option, name in FILES_OF_CREDENTIALS.items()}
    return {option: _read_credential(file) for option, file in files.items() if file.is_file()}


def _files(binary: str, args: Sequence[str]) -> list[str]:
    """Those that `config.load` reads: where one kind is named, none of that kind is looked for."""
    # As oslo.config does it; Path's own raises for a user that there is not.
    named = [os.path.expanduser(arg.partition("=")[2]) for arg in args]  # noqa: PTH111
    kinds = [arg.partition("=")[0] for arg in args]
    files = [path for kind, path in zip(kinds, named, strict=True) if kind == "--config-file"]
    directories = [path for kind, path in zip(kinds, named, strict=True) if kind == "--config-dir"]
    files = files or cfg.find_config_files(binary, binary)
    directories = directories or cfg.find_config_dirs(binary, binary)
    inside = [sorted(Path(directory).glob("*.conf")) for directory in directories]
    return [*files, *(str(file) for file in chain.from_iterable(inside))]


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

"""The tested versions of libraries whose private names are used here.

A version within the bounds of pyproject.toml may still have changed such a name. So `config check`
warns of a version newer than the tested ones.
"""

import re
from collections.abc import Callable
from importlib import metadata

# The newest with which all tests passed; a unit test compares them with constraints.txt.
TRIED = {"cotyledon": "2.2.0", "oslo.config": "10.7.0", "oslo.messaging": "18.3.1"}


def untried(installed: Callable[[str], str] = metadata.version) -> list[str]:
    """A sentence for each installed library that is newer than the tested version."""
    found = {name: installed(name) for name in TRIED}
    return [
        f"{name} {version} is newer than {TRIED[name]}, the newest that was tried with this "
        "launcher"
        for name, version in found.items()
        if _key(version) > _key(TRIED[name])
    ]


def _key(version: str) -> tuple[int, ...]:
    """The numbers of a version. A suffix, as in 19.0.0rc1, is ignored."""
    numbers = re.match(r"[\d.]*\d", version)
    return tuple(int(number) for number in numbers[0].split(".")) if numbers else ()

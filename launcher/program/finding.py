"""Finds a program by its name: a console script, or module:function. Imports no oslo library."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launcher.errors import ProgramNotFound

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SCRIPTS = "console_scripts"


@dataclass(frozen=True, slots=True)
class Program:
    """A program that was found by its name; it is not imported yet.

    :ivar name: as it was given.
    :ivar entry: where its `main()` is.
    """

    name: str
    entry: "EntryPoint"

    @property
    def service(self) -> str:
        """The name of the service, also the base of the names of files and directories."""
        return service_of(self.name)

    @property
    def version(self) -> str:
        """Name and version of the package that it belongs to; "" if no package has it."""
        dist = self.entry.dist
        return f"{dist.name} {dist.version}" if dist else ""


def service_of(name: str) -> str:
    """The name of the service of a program."""
    return name.replace(":", ".")


def find(name: str) -> Program:
    """Find a program. Any thread.

    :raises ProgramNotFound: there is no such console script, or the text is not of the form
        module:function.
    """
    from importlib.metadata import EntryPoint, entry_points  # noqa: PLC0415  # for a program alone

    if ":" in name:
        if not re.fullmatch(r"\w+(\.\w+)*:\w+(\.\w+)*", name):
            raise ProgramNotFound(name=name, reason="this is not of the form module:function")
        return Program(name, EntryPoint(name, name, SCRIPTS))
    scripts = entry_points(group=SCRIPTS)
    for entry in scripts:
        if entry.name == name:
            return Program(name, entry)
    raise ProgramNotFound(name=name, reason=_unknown(name, {entry.name for entry in scripts}))


def _unknown(name: str, scripts: Iterable[str]) -> str:
    import difflib  # noqa: PLC0415  # for a mistake alone
    import shutil  # noqa: PLC0415  # likewise

    if path := shutil.which(name):
        return (
            f"{path} is no console script of a package installed beside this launcher; name the "
            "function that it calls, as module:function"
        )
    near = difflib.get_close_matches(name, sorted(scripts))
    meant = f"; did you mean {' or '.join(near)}?" if near else ""
    return (
        "no package installed beside this launcher has a console script of that name, and it is "
        f"not module:function{meant}"
    )

"""A name of a library on which foreign programs stand, and whether it is there."""

import importlib
from typing import Any, NamedTuple


class Name(NamedTuple):
    """A name of a library: the distribution, the module, and what is in it."""

    library: str
    module: str
    path: str

    def is_there(self) -> bool:
        """Whether the installed version has it. Imports the module."""
        try:
            found: Any = importlib.import_module(self.module)
            for part in self.path.split("."):
                found = getattr(found, part)
        except (ImportError, AttributeError):
            return False
        return True

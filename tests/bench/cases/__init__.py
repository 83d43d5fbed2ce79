"""The cases: each yields a record a figure."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.bench.systems import Bench


@dataclass(frozen=True, slots=True)
class Plan:
    """How a case is to be measured."""

    bench: Bench
    rounds: int = 5
    sizes: Sequence[int] = ()  # numbers of workers; none: those that belong to the case
    bus: str = "rabbit"

    def n(self, otherwise: int = 4) -> int:
        """The one number of workers of a case that has one."""
        return self.sizes[0] if self.sizes else otherwise

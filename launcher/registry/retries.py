"""How often, and how long apart, an operation on the database is tried again."""

import random
from collections.abc import Iterator
from typing import NamedTuple


class Retries(NamedTuple):
    """Bounded and spread out: a pause is random below a limit that doubles. Seconds throughout."""

    attempts: int = 8
    first_pause: float = 0.02
    longest_pause: float = 0.5

    def pauses(self) -> Iterator[float]:
        """One pause between each two attempts: one fewer than there are attempts."""
        limit = self.first_pause
        for _ in range(self.attempts - 1):
            yield random.uniform(0, limit)  # Python reseeds it in every fork
            limit = min(2 * limit, self.longest_pause)

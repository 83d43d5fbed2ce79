"""The number of attempts for an operation on the database, and the pauses between them."""

import random
from collections.abc import Iterator
from typing import NamedTuple


class Retries(NamedTuple):
    """Bounded. Each pause is random, below a limit that doubles. Seconds."""

    attempts: int = 8
    first_pause: float = 0.02
    longest_pause: float = 0.5
    # After which nothing is tried again: a conflict may be the end of a wait for a lock. With the
    # last attempt that is less than a host waits for its conductor.
    seconds: float = 10.0

    def pauses(self) -> Iterator[float]:
        """The pauses between the attempts: one fewer than attempts."""
        limit = self.first_pause
        for _ in range(self.attempts - 1):
            yield random.uniform(0, limit)  # Python reseeds it in every fork
            limit = min(2 * limit, self.longest_pause)

"""The service version: a number that grows when services of two releases must know of each other.

Raise SERVICE_VERSION with every change of what a service writes to the database, takes from the
bus or may assume of the others. A service refuses to start if a newer one in the fleet no longer
works with its number.

1: 0.1, whose rows bear no number.
2: rows bear the number, the start and the machine; times are the database's.
"""

from typing import Final

SERVICE_VERSION: Final = 2
OLDEST_VERSION: Final = 1  # that this version works with: one back, for a rolling upgrade

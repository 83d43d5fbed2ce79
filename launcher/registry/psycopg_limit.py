"""Connections of psycopg whose answers have a time limit. libpq has none: a server that accepts
and is silent would be waited for until somebody cuts the connection.

This module alone stands on `Connection.wait`, through which each wait for the server goes, and on
the generators that it is given; before psycopg 3.2.11 its C code did not resume them while nothing
came. tests/functional/test_server_errors.py notices a change.
"""

import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")

CANCEL_SECONDS = 1.0


def connector(limit: float) -> Callable[..., psycopg.Connection]:
    """The listener of SQLAlchemy's event `do_connect`.

    :param limit: seconds.
    """

    class Limited(psycopg.Connection):
        """As psycopg's; an answer that does not come in time closes it."""

        def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
            return super().wait(_limited(gen, limit, self._give_up), *args, **options)

        def _give_up(self) -> None:
            """The server may be alive, and wait for a lock: then its session would go on waiting
            though nobody listens."""
            with suppress(psycopg.Error):
                if psycopg.capabilities.has_cancel_safe():
                    self.cancel_safe(timeout=CANCEL_SECONDS)
            self.close()
            raise psycopg.OperationalError(f"no answer within {limit:g} s")

    def connect(_dialect: Any, _record: Any, cargs: Any, cparams: Any) -> psycopg.Connection:
        return Limited.connect(*cargs, **cparams)

    return connect


def _limited(
    generator: Generator[Any, Any, T], limit: float, give_up: Callable[[], None]
) -> Generator[Any, Any, T]:
    """The generator, which is resumed with a false value when nothing has come for a while."""
    end = time.monotonic() + limit
    try:
        wish = next(generator)
        while True:
            ready = yield wish
            if not ready and time.monotonic() > end:
                give_up()
            wish = generator.send(ready)
    except StopIteration as over:
        result: T = over.value
        return result

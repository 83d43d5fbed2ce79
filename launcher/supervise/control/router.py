"""Finds what answers a request, and limits how many commands run at once."""

import re
from functools import partial
from typing import Any

from launcher.errors import LauncherError
from launcher.supervise.control.requests import (
    Answer,
    ConcurrencyLimit,
    Route,
    RouteTable,
    SlowRequest,
)

COMMANDS = 8  # commands at once; a command keeps its place when its client has gone
REPORTS = COMMANDS // 2  # reports among these; a hanging worker blocks each for a while


class TableRouter:
    """The Router of one server. Any thread."""

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._commands = ConcurrencyLimit("commands", COMMANDS)
        self._reports = ConcurrencyLimit("reports", REPORTS, self._commands)

    def find(self, verb: str, path: str) -> Route | None:
        """Return the route of a request; None: there is none."""
        for (known, pattern), handler in self._table.items():
            if known == verb and (match := re.fullmatch(pattern, path)):
                return Route(partial(_call, handler, match.groups()), self._limit(verb, handler))
        return None

    def _limit(self, verb: str, handler: object) -> ConcurrencyLimit | None:
        if isinstance(handler, SlowRequest):
            return self._reports
        return self._commands if verb == "POST" else None


class Refusal:
    """The Router of a server that can follow no request."""

    def __init__(self, error: LauncherError) -> None:
        self._error = error

    def find(self, verb: str, path: str) -> Route:
        """Return a route that raises the error."""
        return Route(self._refuse, None)

    def _refuse(self, _: dict[str, Any]) -> Answer:
        raise self._error


def _call(handler: Any, groups: tuple[str, ...], body: dict[str, Any]) -> Any:
    return handler(body, *groups)

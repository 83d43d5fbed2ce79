"""Why RabbitMQ takes or delivers no call: the driver says so in its log, and nowhere else.

Uses texts of oslo.messaging's AMQP driver: `tests/unit/test_rabbit_troubles.py` fails when they
change.
"""

import logging
from typing import Self

from launcher.board.states import Wait
from launcher.config.masking import mask_url
from launcher.errors import BusBlocked, BusUnavailable, LauncherError

DRIVER = "oslo.messaging._drivers.impl_rabbit"  # its logger
BLOCKED = "The broker has blocked the connection: %s"
UNBLOCKED = "The broker has unblocked the connection"
RECONNECTED = "[%(connection_id)s] Reconnected to AMQP server"  # the beginning of a line
LOST = "[%(connection_id)s] AMQP server"  # likewise
OURS = (
    "launcher.rabbit.driver_connection"  # its logger; that module is imported with RabbitMQ only
)
REFUSED, TAKEN = "RabbitMQ refuses us: %s", "RabbitMQ takes us again"


class Troubles(logging.Handler):
    """Reads the driver's log lines. Any thread. Without a broker there are no such lines."""

    def __init__(self) -> None:
        super().__init__()
        self._blocked = ""  # the broker's reason
        self._lost = ""  # the driver's reason, or the broker's
        self._refused = False  # the broker's

    @classmethod
    def watch(cls) -> Self:
        """Follow the connections of this process from here on."""
        troubles = cls()
        for name in (DRIVER, OURS):
            logging.getLogger(name).addHandler(troubles)
        return troubles

    def emit(self, record: logging.LogRecord) -> None:
        """Read a line of the driver's log."""
        text = str(record.msg)
        if text == BLOCKED:
            self._blocked = _one_line(record.getMessage().partition(": ")[2])
        elif text == UNBLOCKED:
            self._blocked = ""
        elif text == REFUSED:
            self._lost, self._refused = _one_line(record.getMessage()), True
        elif text.startswith(RECONNECTED) or text == TAKEN:
            self._lost, self._refused = "", False
        elif text.startswith(LOST) and isinstance(record.args, dict):
            self._lost = _one_line(record.args.get("err_str", ""))

    def error(self, url: str) -> LauncherError | None:
        """Return the present trouble, if one is known. `url` may hold a password; it is masked."""
        if alarm := self.alarm(url):
            return alarm
        if self._lost:
            return BusUnavailable(url=mask_url(url), reason=mask_url(self._lost))
        return None

    def why(self) -> Wait:
        """What a wait for the broker is due to."""
        if self._blocked:
            return Wait.BLOCKED
        return Wait.REFUSED if self._refused else Wait.ABSENT

    def alarm(self, url: str) -> BusBlocked | None:
        """Return an error if the broker blocks publishers now (an alarm of memory or disk)."""
        return BusBlocked(url=mask_url(url), reason=self._blocked) if self._blocked else None


def _one_line(text: object) -> str:
    return " ".join(str(text).split())

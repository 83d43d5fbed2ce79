"""Why RabbitMQ takes or delivers no call: the driver says so in its log, and nowhere else.

Uses texts of oslo.messaging's AMQP driver: `tests/unit/test_rabbit_troubles.py` fails when they
change.
"""

import logging
from typing import Self

from launcher.board.states import Wait
from launcher.config.masking import mask_url
from launcher.errors import BusBlocked, BusUnavailable, LauncherError

LOG = logging.getLogger(__name__)

DRIVER = "oslo.messaging._drivers.impl_rabbit"  # its logger
BLOCKED = "The broker has blocked the connection: %s"
UNBLOCKED = "The broker has unblocked the connection"
RECONNECTED = "[%(connection_id)s] Reconnected to AMQP server"  # the beginning of a line
LOST = "[%(connection_id)s] AMQP server"  # likewise
OURS = (
    "launcher.rabbit.driver_connection"  # its logger; that module is imported with RabbitMQ only
)
REFUSED, TAKEN = "RabbitMQ refuses us: %s", "RabbitMQ takes us again"

# Parts of reasons: the broker's codes and words, or the driver's for them.
REASONS = {
    "limit": Wait.LIMITED,  # of connections: of the node, the user or the virtual host
    "(403)": Wait.REFUSED,
    "(530)": Wait.REFUSED,
    "(320)": Wait.STOPPING,  # CONNECTION_FORCED
    "Basic.cancel": Wait.CANCELLED,
    "delivery acknowledgement on channel": Wait.TIMED_OUT,
}


class Troubles(logging.Handler):
    """Reads the driver's log lines. Any thread. Without a broker there are no such lines."""

    def __init__(self) -> None:
        super().__init__()
        self._blocked = ""  # the broker's reason
        self._lost = ""  # the driver's reason, or the broker's
        self._why = Wait.ABSENT

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
            self._lose(record.getMessage())
        elif text.startswith(RECONNECTED) or text == TAKEN:
            self._lost, self._why = "", Wait.ABSENT
        elif text.startswith(LOST) and isinstance(record.args, dict):
            self._lose(record.args.get("err_str", ""))

    def error(self, url: str) -> LauncherError | None:
        """Return the present trouble, if one is known. `url` may hold a password; it is masked."""
        if alarm := self.alarm(url):
            return alarm
        if self._lost:
            return BusUnavailable(url=mask_url(url), reason=mask_url(self._lost))
        return None

    def _lose(self, reason: object) -> None:
        self._lost = _one_line(reason)
        why = next((why for part, why in REASONS.items() if part in self._lost), Wait.ABSENT)
        if why != self._why and why.act:
            LOG.warning("RabbitMQ %s", why.act)
        self._why = why

    def why(self) -> Wait:
        """What the broker does at present, as far as it tells."""
        return Wait.BLOCKED if self._blocked else self._why

    def alarm(self, url: str) -> BusBlocked | None:
        """Return an error if the broker blocks publishers now (an alarm of memory or disk)."""
        return BusBlocked(url=mask_url(url), reason=self._blocked) if self._blocked else None


def _one_line(text: object) -> str:
    return " ".join(str(text).split())

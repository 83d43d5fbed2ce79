"""Why RabbitMQ takes or delivers no call: the driver says so in its log, and nowhere else.

Uses texts of oslo.messaging's AMQP driver: `tests/unit/test_rabbit_troubles.py` fails when they
change.
"""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple, Self
from weakref import WeakKeyDictionary

from launcher.board.states import Wait
from launcher.config.masking import mask_url
from launcher.errors import BusBlocked, BusUnavailable, LauncherError
from launcher.writing.recurring import Recurring

LOG = logging.getLogger(__name__)

DRIVER = "oslo.messaging._drivers.impl_rabbit"  # its logger
RECONNECTED = "[%(connection_id)s] Reconnected to AMQP server"  # the beginning of a line
LOST = "[%(connection_id)s] AMQP server"  # likewise
FAILED = "Connection failed: %s"  # likewise; of a connection that has not been there yet
RETRIED = " (retrying in "  # what follows the reason in it
# Our loggers; these modules are imported with RabbitMQ only.
OURS = tuple(
    f"launcher.rabbit.{name}" for name in ("driver_connection", "lost_nodes", "own_queue")
)
REFUSED, TAKEN = "RabbitMQ refuses us: %s", "RabbitMQ takes us again"
UNDECLARED = (
    "RabbitMQ does not declare queue %s, whose node is lost (of a quorum queue: most of its "
    "nodes). The worker waits for it; see RABBITMQ in compute-launcher(7)"
)
FREED = "RabbitMQ creates queue %s anew, whose node is lost with the calls in it"
DECLARED = "RabbitMQ has declared queue %s"
BLOCKED, UNBLOCKED = "RabbitMQ blocks publishers: %s", "RabbitMQ blocks publishers no longer"
CONNECTION = "connection"  # the attribute of our log records that holds the connection

STALE_SECONDS = 120.0  # a connection that is tried again tells more often that it is lost

# Parts of reasons: the broker's codes and words, or the driver's for them.
REASONS = {
    "limit": Wait.LIMITED,  # of connections: of the node, the user or the virtual host
    "(403)": Wait.REFUSED,
    "(530)": Wait.REFUSED,
    "(320)": Wait.STOPPING,  # CONNECTION_FORCED
    "Basic.cancel": Wait.CANCELLED,
    "delivery acknowledgement on channel": Wait.TIMED_OUT,
    ", whose node is lost": Wait.NODE_LOST,
}
# The first one that any connection has is told. At the first two, an operator has to act.
WORST_FIRST = (
    *(Wait.LIMITED, Wait.REFUSED),
    *(Wait.NODE_LOST, Wait.TIMED_OUT, Wait.CANCELLED, Wait.STOPPING, Wait.ABSENT),
)
ADVICE = {
    Wait.TIMED_OUT: "; set consumer_timeout in RabbitMQ to more than the longest call takes",
}


class Trouble(NamedTuple):
    """What is wrong with one connection.

    :ivar since: when it was last told, by the clock.
    """

    why: Wait
    reason: str
    since: float


class Troubles(logging.Filter):
    """Reads the log lines of the driver's connections, and lets those through that say more than
    ours. Any thread. Without a broker there are no such lines."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._lock = threading.Lock()
        self._of: dict[str, Trouble] = {}  # by the connection's ID
        self._alarms: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # the broker's reasons
        self.no_connection = ""  # why the last connection could not be made, if one could not
        self._told: defaultdict[Wait, Recurring] = defaultdict(lambda: Recurring(clock))

    @classmethod
    def watch(cls) -> Self:
        """Follow the connections of this process from here on."""
        troubles = cls()
        for name in (DRIVER, *OURS):
            logging.getLogger(name).addFilter(troubles)
        return troubles

    def filter(self, record: logging.LogRecord) -> bool:
        """Read a line; return whether it is to be logged."""
        text, connection = str(record.msg), getattr(record, CONNECTION, None)
        facts = record.args if isinstance(record.args, dict) else {}
        number = str(facts.get("connection_id", getattr(connection, "connection_id", "")))
        with self._lock:
            if text == BLOCKED:
                self._alarms[connection] = _one_line(record.getMessage().partition(": ")[2])
                return self._told[Wait.BLOCKED].failed()
            if text == UNBLOCKED:
                self._alarms.pop(connection, None)
            elif text in {TAKEN, DECLARED} or text.startswith(RECONNECTED):
                self._of.pop(number, None)
                self._forget_alarm(number)
            elif text == FREED:
                self._lose(number, record.getMessage())
            elif text in {REFUSED, UNDECLARED}:
                return self._told[self._lose(number, _one_line(record.getMessage()))].failed()
            elif text.startswith(LOST):
                return self._hear_of_loss(number, _one_line(facts.get("err_str", "")))
            elif text.startswith(FAILED):
                told = record.getMessage().removeprefix(FAILED[:-2])
                self.no_connection = _one_line(told.partition(RETRIED)[0])
                return self._told[Wait.ABSENT].failed()
        return True

    def _hear_of_loss(self, number: str, reason: str) -> bool:
        """Note why a connection is lost. Say what the broker does, once for all connections; if
        it does nothing, the driver's line is logged at growing intervals."""
        others = {trouble.why for trouble in self._present()}
        why = self._lose(number, reason)
        if why.act and why not in others:
            LOG.warning("RabbitMQ %s (%s)%s", why.act, mask_url(reason), ADVICE.get(why, ""))
        return not why.act and self._told[why].failed()

    def _lose(self, number: str, reason: str) -> Wait:
        why = next((why for part, why in REASONS.items() if part in reason), Wait.ABSENT)
        self._of[number] = Trouble(why, reason, self._clock())
        return why

    def _forget_alarm(self, number: str) -> None:
        """The broker tells a lost connection of no end. If the alarm lasts, it says so again."""
        for connection in [one for one in self._alarms if one.connection_id == number]:
            del self._alarms[connection]

    def _present(self) -> list[Trouble]:
        """Connections that are not tried again tell nothing, and are left out."""
        oldest = self._clock() - STALE_SECONDS
        self._of = {one: what for one, what in self._of.items() if what.since >= oldest}
        return list(self._of.values())

    def _worst(self) -> Trouble | None:
        with self._lock:
            return min(self._present(), key=lambda one: WORST_FIRST.index(one.why), default=None)

    def error(self, url: str) -> LauncherError | None:
        """Return the worst present trouble, if one is known. `url` may hold a password; it is
        masked."""
        if alarm := self.alarm(url):
            return alarm
        if worst := self._worst():
            return BusUnavailable(url=mask_url(url), reason=mask_url(worst.reason))
        return None

    def why(self) -> Wait:
        """What the broker does at present, as far as it tells."""
        if self._reason_of_alarm():
            return Wait.BLOCKED
        worst = self._worst()
        return worst.why if worst else Wait.ABSENT

    def lost(self) -> bool:
        """Whether a connection is lost or blocked at present, as far as the broker tells."""
        return bool(self._reason_of_alarm() or self._worst())

    def alarm(self, url: str) -> BusBlocked | None:
        """Return an error if the broker blocks publishers now (an alarm of memory or disk)."""
        reason = self._reason_of_alarm()
        return BusBlocked(url=mask_url(url), reason=reason) if reason else None

    def _reason_of_alarm(self) -> str:
        with self._lock:
            return next(iter(self._alarms.values()), "")


def _one_line(text: object) -> str:
    return " ".join(str(text).split())

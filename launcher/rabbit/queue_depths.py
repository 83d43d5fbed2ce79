"""How many calls wait in the queues of a server: the broker tells it in a passive declaration.

The questions go by a channel each, of the connection that is there: if the broker refuses one, it
closes that channel only. Nobody waits for the answers.

Uses private names of the AMQP driver: see `consumer`.
"""

import time
from typing import Any

from launcher.listening.depths import Depths
from launcher.rabbit.question import Question

SILENCE_SECONDS = 10.0  # of the broker, after which its last answer no longer counts


class QueueDepths:
    """Of one server. Used by the connection's thread, but for `read`."""

    def __init__(self, connection: Any, topic: str, host: str) -> None:
        """:param connection: the driver's. :param topic, host: the names of the queues."""
        self._connection = connection
        self._queues = topic, host
        self._questions: list[Question] = []

    def ask(self) -> None:
        """Ask the broker, unless it has not answered the last time."""
        line = self._connection.channel.connection  # amqp's
        asked = self._questions
        if any(question.closed or not question.is_on(line) for question in asked) or not asked:
            for question in asked:
                question.close(line)
            self._questions = [Question(line, queue) for queue in self._queues]
        elif all(question.answered for question in asked):
            for question in asked:
                question.ask()

    def read(self, held: int) -> Depths | None:
        """What the broker has said last; None: nothing, for a while, or a queue is not there. Any
        thread.

        :param held: see `Depths`.
        """
        asked = self._questions
        latest = time.monotonic() - SILENCE_SECONDS
        if any(not question.answered and question.asked_at < latest for question in asked):
            return None
        found = [question.messages for question in asked]
        if len(found) < len(self._queues) or None in found:
            return None
        topic, host = (number or 0 for number in found)
        return Depths(topic, host, held)

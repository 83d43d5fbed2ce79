"""A question to the broker about a queue, by a channel of its own; nobody waits for the answer."""

import time
from typing import Any

from amqp import spec

from launcher.rabbit.lost_nodes import LOST

AGAIN_SECONDS = 5.0  # after an answer that the node is lost
DECLARE = "BsbbbbbF"  # the arguments of queue.declare, for amqp


class Question:
    """Made, and answered, in the connection's thread.

    :ivar answered: the queue is there, or may be declared.
    :ivar asked_at: when it was asked last, monotonic seconds.
    :ivar closed: the broker has refused, and closed the channel.
    :ivar messages: how many wait in the queue; None: not known.
    """

    def __init__(self, line: Any, queue: str) -> None:
        """Ask. :param line: amqp's connection."""
        self._line = line
        self._queue = queue
        self._refused: float | None = None  # when, by time.monotonic()
        self.closed = False
        self.messages: int | None = None
        self.channel = channel = line.channel()
        channel._callbacks[spec.Queue.DeclareOk] = self._answer
        channel._callbacks[spec.Channel.Close] = self._close  # amqp would raise
        self.ask()

    def ask(self) -> None:
        """Ask once more."""
        self.answered, self.asked_at = False, time.monotonic()
        arguments = (0, self._queue, True, False, False, False, False, None)
        self.channel.send_method(spec.Queue.Declare, DECLARE, arguments)

    def is_on(self, line: Any) -> bool:
        """Whether it was asked by this connection."""
        return line is self._line

    def is_over(self, line: Any) -> bool:
        """Whether it is to be asked again."""
        refused = self._refused
        return not self.is_on(line) or (
            refused is not None and time.monotonic() - refused >= AGAIN_SECONDS
        )

    def close(self, line: Any) -> None:
        """Close the channel, if it is open and of this connection."""
        if self.is_on(line) and not self.closed:
            self.channel.close()

    def _answer(self, _: str, messages: int, *__: object) -> None:
        self.answered, self.messages = True, messages

    def _close(self, code: int, text: str, *_: object) -> None:
        """The broker refuses. If the queue does not exist, it may be declared."""
        self.channel.send_method(spec.Channel.CloseOk)
        self.channel.collect()
        self.closed, self.messages = True, None
        if any(lost in text for lost in LOST):
            self._refused = time.monotonic()
        else:
            self.answered = True

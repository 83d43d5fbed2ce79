"""How many messages wait for a server, when its listener last looked."""

from typing import NamedTuple


class Depths(NamedTuple):
    """Messages that wait, by where.

    :ivar topic: in the queue of the topic. On RabbitMQ the hosts share it.
    :ivar host: in the queue of the topic and this host, which its workers share.
    :ivar held: in this worker, which has them from these queues and has no thread for them yet.
    """

    topic: int
    host: int
    held: int = 0

    def __add__(self, other: object) -> "Depths":
        if not isinstance(other, Depths):
            return NotImplemented
        return Depths(self.topic + other.topic, self.host + other.host, self.held + other.held)

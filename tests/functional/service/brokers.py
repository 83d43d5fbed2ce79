"""The brokers and options that operators have, as one table, and nodes of these brokers.

RabbitMQ of Debian 12, of Debian 13 and, if it is set, of $RABBITMQ_ROOT.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.functional.service.faults import RABBIT, with_options
from tests.support.callers import Callers, Ledger
from tests.support.processes import Launcher
from tests.support.rabbitmq import OTHER, RabbitNode

CHECKOUT = Path(__file__).parents[3]
BROKERS = {
    "debian-12": None,  # this machine's: RabbitMQ 3.10
    "debian-13": CHECKOUT / ".roots/rabbitmq-4",
    **({"other": OTHER} if OTHER else {}),
}

SHIPPED, DENYING, KHEPRI = "shipped", "denying", "khepri"
DENIED = "".join(
    f"deprecated_features.permit.{name} = false\n"
    for name in ("transient_nonexcl_queues", "global_qos")
)
SETTINGS = {SHIPPED: "", DENYING: DENIED, KHEPRI: DENIED}

QUORUM: dict[str, object] = {"rabbit_quorum_queue": True, "rabbit_transient_quorum_queue": True}
OPTIONS: dict[str, dict[str, object]] = {
    "defaults": {},
    "quorum-alone": {"rabbit_quorum_queue": True},
    "both-quorum": QUORUM,
    "queue-manager": QUORUM | {"use_queue_manager": True},
    "stream-fanout": QUORUM | {"rabbit_stream_fanout": True, "rabbit_qos_prefetch_count": 10},
    "tls": QUORUM | {"ssl": True},
}
WITH_TRANSIENT_QUEUES = ("defaults", "quorum-alone")

CALLS = 30
CALL_TIMEOUT = 30.0  # seconds
CALLERS = 4  # threads


@dataclass(frozen=True, slots=True)
class Row:
    """A broker, what its operator has set there, and the options of the service."""

    broker: str
    setting: str
    options: str

    def __str__(self) -> str:
        return f"{self.broker}-{self.setting}-{self.options}"

    @property
    def refused(self) -> bool:
        """Whether the broker denies queues that these options make."""
        return bool(SETTINGS[self.setting]) and self.options in WITH_TRANSIENT_QUEUES


# RabbitMQ 3.10 denies nothing. Khepri is an option of 4.0, and all that 4.3 has.
ROWS = [
    *(Row("debian-12", SHIPPED, options) for options in OPTIONS),
    *(Row(broker, SHIPPED, "defaults") for broker in BROKERS if broker != "debian-12"),
    *(Row(broker, DENYING, options) for broker in BROKERS for options in OPTIONS
      if broker != "debian-12"),
    Row("debian-13", KHEPRI, "both-quorum"),
]  # fmt: skip
# Nothing is denied in clusters with Mnesia: a node of RabbitMQ 4.0 that denies transient queues
# cannot start again there. It looks for such queues before its tables are there.
CLUSTER_ROWS = [
    *(Row(broker, SHIPPED, options) for broker in BROKERS for options in ("defaults", "tls")),
    Row("debian-13", KHEPRI, "both-quorum"),
]

Nodes = Callable[[str, str], tuple[RabbitNode, ...]]


def start_nodes(count: int) -> Iterator[Nodes]:
    """One cluster for each broker and setting, which later tests go on with.

    Each node has an address of its own, and a certificate for it."""
    with ExitStack() as stack:

        @cache
        def start(broker: str, setting: str) -> tuple[RabbitNode, ...]:
            root = BROKERS[broker]
            if root is not None and not (root / "usr/lib/rabbitmq").exists():
                pytest.skip(f"there is no {root}; `make test` makes it")
            found: list[RabbitNode] = []
            for number in range(count):
                node = RabbitNode(
                    found[0] if found else None,
                    root=root,
                    options=SETTINGS[setting],
                    host=f"127.0.0.{number + 1}",
                )
                found.append(stack.enter_context(node))
            if setting == KHEPRI:
                assert found[0].evaluate("rabbit_feature_flags:enable(khepri_db)") == "ok"
            return tuple(found)

        yield start


def configuration(url: str, **rabbit: object) -> dict[str, dict[str, object]]:
    """Of a service on RabbitMQ that finds faults fast."""
    return with_options(DEFAULT={"transport_url": url}, oslo_messaging_rabbit=RABBIT | rabbit)


def calling(service: Launcher, url: str, *methods: str) -> Callers:
    """Clients with the service's options, but no lock_path, which a queue manager wants, and no
    TLS: oslo.messaging's own check each node against the first one's name."""
    return Callers(
        f"{url}?use_queue_manager=false&ssl=false",
        "node-1",
        methods or ("work",),
        threads=CALLERS,
        timeout=CALL_TIMEOUT,
        arguments={"seconds": 0.05},
        config_file=service.config_file,
    )


def more(service: Launcher) -> None:
    """Wait until some more calls were executed."""
    ledger = Ledger(service.state_path)
    ledger.wait_for(len(ledger.executions()) + CALLS, 60)

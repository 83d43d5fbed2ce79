"""Every command ends in its time and says why, whatever bus and database do."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.functional.service.conftest import Start
from tests.functional.service.faults import RABBIT, with_options
from tests.support.commands import Completed
from tests.support.processes import Launcher
from tests.support.rabbitmq import RabbitNode, Vhost

TIMEOUT = 2.0  # seconds, for --timeout
LOST_SECONDS = 15.0  # what a command may take beside it, on a busy machine
CALLS = {"ping": ["ping"], "call": ["call", "work", "key=a"], "one": ["ping", "--worker=1"]}


@contextmanager
def stopped(node: RabbitNode) -> Iterator[None]:
    node.stop()
    yield
    node.start()


@contextmanager
def frozen(node: RabbitNode) -> Iterator[None]:
    node.freeze()
    yield
    node.start()


BLOCKED = "takes no calls: the broker blocks publishers (memory or disk alarm: "
OUTAGES: dict[str, tuple[Callable[[RabbitNode], AbstractContextManager[None]], str]] = {
    "memory": (lambda node: node.alarm("memory"), BLOCKED),
    "disk": (lambda node: node.alarm("disk"), BLOCKED),
    "stopped": (stopped, "cannot be reached: "),
    "frozen": (frozen, "cannot be reached: "),
}


def serve(start: Start, rabbit: Vhost) -> Launcher:
    config = with_options(DEFAULT={"transport_url": rabbit.url}, oslo_messaging_rabbit=RABBIT)
    service = start("Working", "--workers=2", "--host=node-1", config=config)
    service.wait_ready()
    return service


@pytest.mark.parametrize("outage", OUTAGES)
def test_who_calls_is_told_in_time_what_the_broker_has(
    start: Start, rabbit: Vhost, outage: str
) -> None:
    service = serve(start, rabbit)
    befall, reason = OUTAGES[outage]
    with befall(rabbit.node):
        for words in CALLS.values():
            answer, taken = timed(service, *words, "--host=node-1", f"--timeout={TIMEOUT}")
            assert (answer.status, answer.stdout) == (69, "")
            assert reason in answer.stderr.splitlines()[-1]
            assert rabbit.node.password not in answer.stderr
            assert taken < TIMEOUT + LOST_SECONDS


def timed(service: Launcher, *words: str) -> tuple[Completed, float]:
    begun = time.monotonic()
    answer = service.run_command(*words)
    return answer, time.monotonic() - begun


def test_a_start_in_an_alarm_says_so(start: Start, rabbit: Vhost) -> None:
    options: dict[str, object] = {"transport_url": rabbit.url, "start_timeout": 4}
    with rabbit.node.alarm("memory"):
        service = start("Working", config=with_options(DEFAULT=options))
        assert service.wait() == 69
    assert BLOCKED in service.output.splitlines()[-1]

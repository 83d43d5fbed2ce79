"""Where clients send their calls is proven too: what is taken away of it is made anew, by the
workers that serve, and health says when they cannot."""

import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from kombu.connection import Connection
from oslo_messaging import MessagingException, Target, get_rpc_client, get_rpc_transport

from launcher.config.loader import EXCHANGE
from tests.functional.service.conftest import Start
from tests.functional.service.faults import FAST, status, with_options
from tests.support.directories import find
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.transports import configuration
from tests.support.waiting import wait_until

SOON = 30.0
MUCH = "x" * 100_000  # more than fits into a datagram
WELL = "2/2 workers serving"


def remove(pattern: str) -> Callable[[Launcher], None]:
    def damage(service: Launcher) -> None:
        found = find(service.runtime_path / "bus", pattern)
        assert found
        for path in found:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    return damage


def answers(service: Launcher) -> bool:
    return service.run_command("call", "echo", "value=1", "--timeout=2").stdout == "1\n"


def pings(service: Launcher, slot: int) -> bool:
    return service.run_command("ping", f"--worker={slot}", "--timeout=2").status == 0


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(remove("queues/*,node-1"), id="main queue"),
        pytest.param(remove("queues"), id="queues"),
        pytest.param(remove("queues/*/wake"), id="FIFOs"),
        pytest.param(remove("peers/*.sock"), id="sockets"),
        pytest.param(remove("peers"), id="peers"),
    ],
)
def test_what_is_removed_of_the_bus_is_made_anew(
    start: Start, damage: Callable[[Launcher], None]
) -> None:
    service = start("Traced", "--workers=2", "--host=node-1", config=FAST)
    service.wait_ready()
    service.configure({"DEFAULT": {"host": "node-1"}})
    assert answers(service)
    before = service.workers()

    damage(service)

    service.wait_for_line("made anew")
    wait_until(lambda: answers(service), SOON, "calls are answered again")
    wait_until(lambda: status(service)["headline"] == WELL, SOON, "all is well")
    assert service.workers() == before
    for slot in range(2):
        assert service.run_command("ping", f"--worker={slot}").status == 0


@pytest.mark.parametrize("value", [1, MUCH], ids=["a little", "much"])
@pytest.mark.parametrize("pattern", ["peers/*.sock", "peers", "replies/*", "replies", "*"])
def test_a_client_that_stays_is_answered_again(start: Start, pattern: str, value: object) -> None:
    """What replies come by was its own, and nobody else's to mend."""
    service = start("Traced", "--workers=2", "--host=node-1", config=FAST)
    service.wait_ready()
    transport = get_rpc_transport(configuration(f"unix://{service.runtime_path}/bus"))
    target = Target(topic="compute", server="node-1", exchange=EXCHANGE)
    client = get_rpc_client(transport, target, timeout=2)

    def is_answered() -> bool:
        with suppress(MessagingException):
            return bool(client.call({}, "echo", value=value) == value)
        return False

    wait_until(is_answered, SOON, "the client is answered")
    remove(pattern)(service)
    wait_until(is_answered, SOON, "the client is answered again")
    transport.cleanup()


@pytest.mark.parametrize("part", ["wake", "new", "cur"])
def test_a_start_and_a_reload_make_whole_what_nobody_listened_to(start: Start, part: str) -> None:
    """A queue that lay there without its FIFO had every start on it end with 69, for good."""
    service = start("Traced", "--workers=2", "--host=node-1", config=FAST)
    service.wait_ready()
    reload(service)  # whose surge leaves a queue
    remove(f"queues/*/{part}")(service)
    service.wait_for_line("made anew")
    reload(service)
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    remove(f"queues/*/{part}")(service)

    service.start_again()

    service.wait_ready()
    service.configure({"DEFAULT": {"host": "node-1"}})
    assert answers(service)


def reload(service: Launcher) -> None:
    done = service.run_command("reload")
    assert done.status == 0, done.stderr


def test_a_bus_that_cannot_be_mended_is_warned_of(start: Start) -> None:
    service = start("Traced", "--workers=2", config=FAST)
    service.wait_ready()
    queues = service.runtime_path / "bus" / "queues"

    def replaced() -> bool:
        with suppress(OSError):  # a worker makes it anew meanwhile
            shutil.rmtree(queues)
            queues.write_text("not a directory")
        return queues.is_file()

    wait_until(replaced, SOON, "a file is in its place")
    told = "degraded: 2/2 workers serving; the bus does not answer"
    wait_until(lambda: status(service)["headline"] == told, SOON, "STATUS says so")
    assert service.run_command("health").stdout == f"warn: {told}\n"

    queues.unlink()
    wait_until(lambda: status(service)["headline"] == WELL, SOON, "all is well")


def delete(queue: str) -> Callable[[Any], object]:
    return lambda channel: channel.queue_delete(queue)


def unbind(queue: str) -> Callable[[Any], object]:
    return lambda channel: channel.queue_unbind(queue, EXCHANGE, queue)


def delete_exchange(channel: Any) -> None:
    channel.exchange_delete(EXCHANGE)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(delete("compute.node-1"), id="main queue"),
        pytest.param(delete("compute"), id="topic's queue"),
        pytest.param(delete("compute-alt.node-1.1"), id="worker's queue"),
        pytest.param(unbind("compute.node-1"), id="main binding"),
        pytest.param(unbind("compute-alt.node-1.1"), id="worker's binding"),
        pytest.param(delete_exchange, id="exchange"),
    ],
)
def test_what_is_deleted_in_rabbitmq_is_made_anew(
    start: Start, rabbit: Vhost, damage: Callable[[Any], object]
) -> None:
    """The broker ends the consumers of a queue, and tells nobody of a binding."""
    config = with_options(DEFAULT={"transport_url": rabbit.url})
    service = start("Traced", "--workers=2", "--host=node-1", config=config)
    service.wait_ready()
    service.configure({"DEFAULT": {"host": "node-1", "transport_url": rabbit.url}})
    assert answers(service)
    before = service.workers()

    with Connection(rabbit.url.replace("rabbit:", "amqp:", 1)) as connection:
        damage(connection.channel())

    wait_until(lambda: answers(service), SOON, "calls are answered again")
    for slot in range(2):
        wait_until(lambda: pings(service, slot), SOON, "the worker is reached again")  # noqa: B023
    wait_until(lambda: status(service)["headline"] == WELL, SOON, "all is well")
    assert service.workers() == before

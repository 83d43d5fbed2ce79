"""A pause on RabbitMQ: calls wait in queues that nobody consumes, whatever the broker does."""

import threading

import pytest
from kombu.connection import Connection

from tests.functional.service.conftest import Start
from tests.functional.service.faults import (
    BACK_SECONDS,
    FAST,
    RABBIT,
    status,
    wait_until_all_prove_themselves,
    with_options,
    workers,
)
from tests.functional.service.foreign import KINDS, SOON, Call, Run, Theirs
from tests.support.processes import Launcher
from tests.support.rabbitmq import Vhost
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)
QUEUES = {"compute", "compute.node-1"}


def pause(service: Launcher) -> None:
    answer = service.run_command("pause")
    assert answer.status == 0, answer


def calls_wait_until_a_resume(service: Launcher, rabbit: Vhost) -> bool:
    answers = []
    words = ("call", "echo", "value=1", "--timeout=90")
    caller = threading.Thread(
        target=lambda: answers.append(service.run_command(*words, deadline=120))
    )
    caller.start()
    wait_until(lambda: rabbit.messages("compute.node-1") == (1, 0), SOON, "the call waits")
    wait_until_all_prove_themselves(service)
    assert not answers
    assert service.run_command("resume").status == 0
    caller.join(BACK_SECONDS)
    return [answer.stdout for answer in answers] == ["1\n"]


@pytest.fixture
def service(start: Start, rabbit: Vhost) -> Launcher:
    main: dict[str, object] = {"transport_url": rabbit.url}
    config = with_options(DEFAULT=main, oslo_messaging_rabbit=dict(RABBIT))
    service = start("Traced", "--workers=2", "--host=node-1", config=config)
    service.wait_ready()
    service.configure({"DEFAULT": {"host": "node-1", **main}})
    return service


def test_a_queue_that_is_deleted_is_made_again_for_the_calls_to_come(
    service: Launcher, rabbit: Vhost
) -> None:
    pause(service)
    with Connection(rabbit.url.replace("rabbit:", "amqp:", 1)) as connection:
        for queue in QUEUES:
            connection.default_channel.queue_delete(queue)
    wait_until(lambda: set(rabbit.queues()) >= QUEUES, SOON, "they are there again")
    assert calls_wait_until_a_resume(service, rabbit)


def test_a_broker_that_restarts_ends_no_pause(service: Launcher, rabbit: Vhost) -> None:
    pause(service)
    rabbit.node.restart()
    wait_until(lambda: set(rabbit.queues()) >= QUEUES, BACK_SECONDS, "they are there again")
    wait_until_all_prove_themselves(service)
    told = "0/2 workers serving, 2 paused"
    wait_until(lambda: status(service)["headline"] == told, BACK_SECONDS, "all is well")
    assert calls_wait_until_a_resume(service, rabbit)


def test_a_pause_while_the_broker_is_away_holds_when_it_is_back(
    service: Launcher, rabbit: Vhost
) -> None:
    rabbit.node.stop()
    wait_until(lambda: "bus" in status(service)["headline"], SOON, "it is away")
    pause(service)
    rabbit.node.start()
    wait_until(lambda: set(rabbit.queues()) >= QUEUES, BACK_SECONDS, "they are there again")
    wait_until_all_prove_themselves(service)
    assert calls_wait_until_a_resume(service, rabbit)


def test_queues_that_would_go_with_the_calls_are_a_reason_to_refuse(
    start: Start, rabbit: Vhost
) -> None:
    main: dict[str, object] = {"transport_url": rabbit.url}
    config = with_options(DEFAULT=main, oslo_messaging_rabbit={"amqp_auto_delete": True})
    service = start("Traced", "--workers=1", config=config)
    service.wait_ready()
    answer = service.run_command("pause")
    assert answer.status == 1
    assert "amqp_auto_delete is set; unset it, and restart the service" in answer.stderr
    assert service.run_command("call", "echo", "value=1").stdout == "1\n"


def test_so_are_such_queues_of_a_program(run: Run, theirs: Theirs) -> None:
    """Its own configuration counts, which the launcher does not read."""
    with theirs.path.open("a") as file:
        file.write("[oslo_messaging_rabbit]\namqp_auto_delete = true\n")
    service = run("oslo_program", "--workers=2", config=FAST)
    service.wait_ready()
    answer = service.run_command("pause")
    assert answer.status == 1
    assert "amqp_auto_delete is set; unset it, and restart the service" in answer.stderr
    assert [worker["paused"] for worker in workers(service)] == [False, False]


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_is_paused_by_its_servers(run: Run, call: Call, kind: str) -> None:
    service = run(kind, "--workers=2", config=FAST)
    service.wait_ready()
    pause(service)
    answers: list[object] = []
    caller = threading.Thread(target=lambda: answers.append(call("tell")))
    caller.start()
    wait_until_all_prove_themselves(service)
    assert not answers
    assert [worker["paused"] for worker in workers(service)] == [True, True]
    assert service.run_command("resume").status == 0
    caller.join(SOON)
    assert answers

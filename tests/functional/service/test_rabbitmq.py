"""What operators use of RabbitMQ: TLS, several hosts, heartbeats."""

import json
import re
from collections.abc import Mapping

from kombu.connection import Connection

from tests.functional.service.conftest import Start
from tests.functional.service.faults import (
    RABBIT,
    status,
    wait_until_all_prove_themselves,
    with_options,
)
from tests.support.callers import Callers, Ledger
from tests.support.processes import Launcher
from tests.support.rabbitmq import LOCALHOST, Vhost, free_ports
from tests.support.waiting import wait_until

CALLS = 50
OWN = "compute-alt.node-1.0"  # queue of the first worker
SOON = 30.0  # the driver gives up after 60


def serve(start: Start, url: str, **rabbit: object) -> Launcher:
    config = with_options(DEFAULT={"transport_url": url}, oslo_messaging_rabbit=RABBIT | rabbit)
    return start("Working", "--workers=2", "--host=node-1", config=config)


def assert_calls_are_answered(service: Launcher, url: str) -> None:
    """By clients that have the service's options."""
    ledger = Ledger(service.state_path)
    methods = ("work", "once")
    with Callers(url, "node-1", methods, config_file=service.config_file) as callers:
        ledger.wait_for(len(ledger.executions()) + CALLS)
        tally = callers.end()
    assert tally.answered
    assert not tally.failed


def tls(rabbit: Vhost) -> Mapping[str, object]:
    """Options with which the server's certificate and name are checked."""
    return {"ssl": True, "ssl_ca_file": rabbit.node.tls.authority}


def test_what_workers_have_at_the_broker(start: Start, rabbit: Vhost) -> None:
    """Each has a connection for its two servers, and one to publish by. Nobody sends to the topic
    of their own servers, or to all of them, so it has no queue."""
    service = serve(start, rabbit.url)
    service.wait_ready()
    assert rabbit.connections() == 2 * 2
    used = [re.sub("fanout_[0-9a-f]{32}", "fanout", name) for name in rabbit.queues()]
    of_workers = ["compute-alt.node-1.0", "compute-alt.node-1.1"]
    assert used == ["compute", *of_workers, "compute.node-1", *2 * ["compute_fanout"]]


def test_what_a_killed_worker_asked_itself_holds_nobody_up(start: Start, rabbit: Vhost) -> None:
    """The next worker of the slot finds the call in the queue, and its caller gone. The driver
    would try to answer for a minute, and a drain would wait for that."""
    service = serve(start, rabbit.url)
    service.wait_ready()
    namespace = {"namespace": "baseapi", "version": "1.1"}
    asked = {
        "method": "ping",
        "args": {},
        "_msg_id": "1" * 32,
        "_reply_q": f"compute_fanout_{'0' * 32}",
    }
    body = {"oslo.version": "2.0", "oslo.message": json.dumps(asked | namespace)}
    with Connection(rabbit.url.replace("rabbit:", "amqp:", 1)) as connection:
        connection.Producer().publish(body, routing_key=OWN)
    wait_until(lambda: rabbit.messages(OWN) == (0, 0), SOON, "it is taken, and acknowledged")
    assert service.run_command("restart-worker", "0").status == 0


def test_tls(start: Start, rabbit: Vhost) -> None:
    url = rabbit.url_of(f"{LOCALHOST}:{rabbit.node.tls_port}")
    service = serve(start, url, **tls(rabbit))
    service.wait_ready()
    assert_calls_are_answered(service, url)


def test_tls_with_a_name_that_is_not_in_the_certificate(start: Start, rabbit: Vhost) -> None:
    """Nobody is told the password; the log says why."""
    service = serve(start, rabbit.url_of(f"localhost:{rabbit.node.tls_port}"), **tls(rabbit))
    service.wait_for_line("certificate verify failed: Hostname mismatch")
    assert service.wait() == 69
    assert rabbit.node.password not in service.output


def test_tls_with_an_unknown_authority(start: Start, rabbit: Vhost) -> None:
    other = {"ssl": True, "ssl_ca_file": "/etc/ssl/certs/ca-certificates.crt"}
    service = serve(start, rabbit.url_of(f"{LOCALHOST}:{rabbit.node.tls_port}"), **other)
    service.wait_for_line("certificate verify failed")
    assert service.wait() == 69


def test_several_hosts(start: Start, rabbit: Vhost) -> None:
    """One of which has never been there."""
    nobody, somebody = f"{LOCALHOST}:{free_ports(1)[0]}", f"{LOCALHOST}:{rabbit.node.port}"
    service = serve(start, rabbit.url_of(nobody, somebody))
    service.wait_ready()
    assert_calls_are_answered(service, rabbit.url)
    rabbit.node.restart()
    wait_until_all_prove_themselves(service)
    assert_calls_are_answered(service, rabbit.url)


def test_a_broker_that_hangs_is_noticed_by_its_heartbeat(start: Start, rabbit: Vhost) -> None:
    """In an idle worker too, whose connections nobody uses."""
    service = serve(start, rabbit.url, heartbeat_timeout_threshold=4)
    service.wait_ready()
    before, since = service.workers(), len(service.output)
    rabbit.node.freeze()
    service.wait_for_line(r"is lost: Too many heartbeats missed", since=since)
    rabbit.node.start()
    assert_calls_are_answered(service, rabbit.url)
    assert service.workers() == before


def test_status_and_health_say_what_the_broker_does(start: Start, rabbit: Vhost) -> None:
    service = serve(start, rabbit.url)
    service.wait_ready()
    told = "the bus blocks publishers (memory or disk alarm)"
    with rabbit.node.alarm("disk"):
        wait_until(lambda: told in status(service)["headline"], 30, "STATUS says so")
        assert "it blocks publishers" in service.run_command("health", "--json").stdout
    well = "2/2 workers serving"
    wait_until(lambda: status(service)["headline"] == well, 30, "all is well again")

"""RabbitMQ as a unit beside ours, on the container's own loopback."""

from functools import partial
from pathlib import PurePath
from subprocess import CompletedProcess

from tests.support.waiting import wait_until
from tests.systemd.asking import COMMAND
from tests.systemd.broker import (
    BROKER,
    BROKER_DEADLINE,
    CREDENTIAL,
    PASSWORD,
    broker,
    unit_with_secret,
)
from tests.systemd.unit import Unit

__all__ = ["broker", "unit_with_secret"]


def test_a_broker_that_is_stopped_ends_the_start_with_the_reason(
    unit_with_secret: Unit, broker: Unit
) -> None:
    unit = unit_with_secret
    broker.stop()
    unit.configure(start_timeout=3)
    unit.drop_in("Restart=no")
    unit.fails("start", deadline=15)
    assert (unit.state, unit.show("ExecMainStatus")) == ("failed", "69")
    assert "bus rabbit://launcher:***@127.0.0.1:5672/ cannot be reached" in unit.status()


def test_one_transaction_starts_the_broker_first_and_a_restart_of_it_is_survived(
    unit_with_secret: Unit, broker: Unit
) -> None:
    unit = unit_with_secret
    broker.stop()
    unit.configure(manager="managers:Plain")
    unit.drop_in(f"ExecStartPre={COMMAND} config show")
    unit.drop_in(f"Wants={BROKER}", section="Unit")
    unit.start(deadline=BROKER_DEADLINE)
    begun = int(unit.show("ExecMainStartTimestampMonotonic"))
    assert begun > int(broker.show("ActiveEnterTimestampMonotonic")) > 0
    before = pids_over_rabbit(unit)
    assert_secret_is_seen_nowhere(unit)
    broker.control("restart", deadline=BROKER_DEADLINE)
    wait_until(lambda: answers(unit), 60, "calls are answered again")
    for slot in range(2):  # each finds the broker in its own time
        wait_until(partial(answers, unit, f"--worker={slot}"), 60, f"worker {slot} answers again")
    assert pids_over_rabbit(unit) == before
    unit.wait_for("^2/2 workers serving$", "StatusText", 60)  # their probes succeed again
    assert unit.restarts == 0


def assert_secret_is_seen_nowhere(unit: Unit) -> None:
    """It is in use, and masked wherever the bus is named."""
    seen = [unit.journal("--output=verbose"), unit.status(), unit.control("show")]
    for pid in unit.processes():
        files = [f"/proc/{pid}/environ", f"/proc/{pid}/cmdline"]
        seen.append(unit.container.out("sh", "-c", f"cat {' '.join(files)} | tr '\\0' '\\n'"))
    assert [text for text in seen if PASSWORD in text] == []
    masked = [line for line in unit.messages() if "rabbit://launcher:***@" in line]
    assert any(line.startswith("transport_url = ") for line in masked)  # config show
    assert len(masked) > 1  # the service itself


def answers(unit: Unit, *options: str) -> bool:
    """Whether a call reaches the service, or a worker of it."""
    return ask_over_rabbit(unit, "ping", "--timeout", "2", *options).returncode == 0


def pids_over_rabbit(unit: Unit) -> list[int]:
    """The workers, each asked by its slot."""
    asked = [ask_over_rabbit(unit, "ping", "--worker", str(slot)) for slot in range(2)]
    assert [done.stderr for done in asked if done.returncode] == []
    return [int(done.stdout.partition(" pid ")[2].split()[0]) for done in asked]


def ask_over_rabbit(unit: Unit, *words: str) -> CompletedProcess[str]:
    """Root's own commands find the URL as the unit does."""
    environment = {"CREDENTIALS_DIRECTORY": str(PurePath(CREDENTIAL).parent)}
    return unit.container.run(COMMAND, *words, env=environment, check=False)

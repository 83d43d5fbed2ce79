"""RabbitMQ's own unit in the container."""

from collections.abc import Iterator

import pytest

from tests.systemd.conftest import miss
from tests.systemd.container import Container
from tests.systemd.unit import Unit

BROKER = "rabbitmq-server.service"
BROKER_DEADLINE = 120.0
PASSWORD = "pa55-in-nobodys-sight"
URL = f"rabbit://launcher:{PASSWORD}@127.0.0.1:5672/"
CREDENTIAL = "/etc/compute-launcher/transport_url"


@pytest.fixture(scope="module")
def broker(installed: Container) -> Iterator[Unit]:
    """RabbitMQ's own unit, stopped, with a user for the service."""
    if not installed.succeeds("systemctl", "cat", BROKER):
        miss("rabbitmq-server is not installed")
    unit = Unit(installed, BROKER)
    # What is there belongs to this machine's broker, which may run and write there just now.
    installed.run("find", "/var/lib/rabbitmq", "/var/log/rabbitmq", "-mindepth", "1", "-delete")
    start(unit)
    installed.run("rabbitmqctl", "add_user", "launcher", PASSWORD)
    installed.run("rabbitmqctl", "set_permissions", "launcher", ".*", ".*", ".*")
    unit.stop()
    yield unit
    unit.stop()


@pytest.fixture
def unit_with_secret(unit: Unit, broker: Unit) -> Iterator[Unit]:
    """The bus' address comes by a credential, as the unit's comment shows."""
    unit.container.put(CREDENTIAL, URL + "\n", mode="0600")
    unit.drop_in(f"LoadCredential=transport_url:{CREDENTIAL}")
    yield unit
    unit.container.run("rm", CREDENTIAL)


def start(broker: Unit) -> None:
    """Start it, and tell why when it does not."""
    try:
        broker.start(deadline=BROKER_DEADLINE)
    except AssertionError as error:
        raise AssertionError(f"{error}{broker.journal()}") from error

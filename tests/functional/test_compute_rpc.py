"""The compute manager behind a real RPC server, called by its client, on a real registry."""

from collections.abc import Iterator
from pathlib import Path

import oslo_messaging
import psutil
import pytest
from oslo_config import cfg

from launcher.compute.compute_manager import ComputeManager
from launcher.compute.rpcapi import TOPIC, ComputeAPI
from launcher.errors import ServiceNotFound
from launcher.registry.engine import open_registry
from launcher.registry.interface import Registry
from launcher.registry.records import ReasonUnusable, ServiceRecord
from launcher.serve.manager import ManagerContext

BINARY = "compute-launcher"


@pytest.fixture(scope="module")
def state_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def registry(state_path: Path) -> Iterator[Registry]:
    registry = open_registry(f"sqlite:///{state_path}/launcher.sqlite")
    yield registry
    registry.close()


@pytest.fixture(scope="module")
def serving(registry: Registry, state_path: Path) -> Iterator[ComputeAPI]:
    """The client of a service on host "node-1", which serves in this process."""
    manager = ComputeManager(
        ManagerContext("node-1", BINARY, TOPIC, 0, str(state_path), registry, cfg.CONF)
    )
    transport = oslo_messaging.get_rpc_transport(cfg.CONF, url="fake://")
    target = oslo_messaging.Target(topic=TOPIC, server="node-1")
    policy = oslo_messaging.ExplicitRPCAccessPolicy
    server = oslo_messaging.get_rpc_server(transport, target, [manager], access_policy=policy)
    server.start()
    manager.pre_start_hook(register(registry))
    yield ComputeAPI(transport, host="node-1", timeout=30)
    server.stop()
    server.wait()
    transport.cleanup()


@pytest.fixture
def api(serving: ComputeAPI, registry: Registry) -> ComputeAPI:
    register(registry)
    return serving


def register(registry: Registry) -> ServiceRecord:
    return registry.register_service("node-1", BINARY, topic=TOPIC, version="1", workers=1)


def test_the_row_of_the_host_is_what_a_caller_is_told(api: ComputeAPI, registry: Registry) -> None:
    told = api.get_available_resource({})

    (row,) = registry.list_compute_nodes("node-1")
    assert (told["vcpus"], told["memory_mb"]) == (row.vcpus, row.memory_mb)
    assert (told["local_gb"], told["cpu_info"]) == (row.local_gb, row.cpu_info)
    assert told["memory_mb"] * 2**20 <= psutil.virtual_memory().total


def test_a_caller_can_disable_the_host_and_enable_it(api: ComputeAPI, registry: Registry) -> None:
    assert api.set_host_enabled({}, False, "fan is loud") == "disabled"
    row = registry.get_service("node-1", BINARY)
    assert row is not None
    assert (row.disabled, row.disabled_reason) == (True, "fan is loud")

    assert api.set_host_enabled({}, True) == "enabled"
    row = registry.get_service("node-1", BINARY)
    assert row is not None
    assert (row.disabled, row.disabled_reason) == (False, None)


def test_a_caller_can_ask_for_the_uptime(api: ComputeAPI) -> None:
    assert "load average: " in api.get_host_uptime({})


def test_a_service_that_was_deleted_is_a_clear_answer(api: ComputeAPI, registry: Registry) -> None:
    registry.delete_service("node-1", BINARY)

    with pytest.raises(ServiceNotFound, match="no service compute-launcher on host node-1"):
        api.set_host_enabled({}, False)


def test_a_reason_that_is_too_long_is_a_clear_answer(api: ComputeAPI) -> None:
    with pytest.raises(ReasonUnusable, match="one line of at most 255 printable characters"):
        api.set_host_enabled({}, False, "x" * 256)


def test_what_is_not_meant_for_clients_cannot_be_called(api: ComputeAPI) -> None:
    with pytest.raises(oslo_messaging.NoSuchMethod):
        api._client.call({}, "update_available_resource")

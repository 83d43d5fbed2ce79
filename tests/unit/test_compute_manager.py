"""The compute manager, with a registry that only remembers."""

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from oslo_config import cfg
from oslo_messaging import ExpectedException

from launcher.compute.compute_manager import ArgumentUnusable, ComputeManager, to_node
from launcher.compute.resources import HostResources
from launcher.errors import DatabaseUnavailable, ServiceNotFound
from launcher.registry.interface import Registry
from launcher.registry.records import ComputeNode, ServiceRecord, ServiceState
from launcher.serve.manager import ManagerContext

ROW = ServiceRecord(
    id=1,
    host="node-1",
    binary="compute-launcher",
    topic="compute",
    version="1",
    report_count=0,
    last_seen_up=None,
    state=ServiceState.DOWN,
    workers=1,
    workers_serving=0,
    disabled=False,
    disabled_reason=None,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    as_of=datetime(2026, 1, 1, tzinfo=UTC),
    updated_at=None,
)


class RememberingRegistry:
    """What the manager asks of a registry, and what it was asked."""

    def __init__(self) -> None:
        self.nodes: list[ComputeNode] = []
        self.asked: list[tuple[str, str, bool, str | None]] = []
        self.failure: Exception | None = None

    def save_compute_node(self, node: ComputeNode) -> None:
        if self.failure:
            raise self.failure
        self.nodes.append(node)

    def set_service_disabled(
        self, host: str, binary: str, *, disabled: bool, reason: str | None
    ) -> ServiceRecord:
        if self.failure:
            raise self.failure
        self.asked.append((host, binary, disabled, reason))
        return ROW._replace(disabled=disabled)


@pytest.fixture
def registry() -> RememberingRegistry:
    return RememberingRegistry()


@pytest.fixture
def manager(registry: RememberingRegistry, tmp_path: Path) -> ComputeManager:
    return ComputeManager(
        ManagerContext(
            host="node-1",
            binary="compute-launcher",
            topic="compute",
            slot=0,
            state_path=str(tmp_path),
            registry=cast(Registry, registry),
            conf=cfg.ConfigOpts(),
        )
    )


def test_the_row_is_written_before_any_call_can_arrive(
    manager: ComputeManager, registry: RememberingRegistry
) -> None:
    manager.pre_start_hook(ROW)

    (node,) = registry.nodes
    assert (node.host, node.hypervisor_hostname) == ("node-1", socket.gethostname())
    assert node.vcpus >= 1
    assert node.memory_mb == node.memory_mb_used + node.free_ram_mb
    assert node.local_gb == node.local_gb_used + node.free_disk_gb


def test_one_worker_of_the_host_keeps_the_row_true_every_minute(
    manager: ComputeManager, registry: RememberingRegistry
) -> None:
    ((name, task),) = ComputeManager.periodic_tasks()

    getattr(manager, name)({})

    assert (task.name, task.spacing, task.scope) == ("update_available_resource", 60, "host")
    assert not task.run_immediately
    assert [node.host for node in registry.nodes] == ["node-1"]


@pytest.mark.parametrize(
    "action",
    [lambda manager: manager.pre_start_hook(ROW), lambda m: m.update_available_resource({})],
    ids=["pre_start_hook", "update_available_resource"],
)
def test_a_database_that_is_away_is_the_callers_to_handle(
    manager: ComputeManager, registry: RememberingRegistry, action: Callable[[Any], None]
) -> None:
    registry.failure = DatabaseUnavailable(url="x", reason="gone")

    with pytest.raises(DatabaseUnavailable):
        action(manager)


def test_resources_travel_as_plain_json(manager: ComputeManager) -> None:
    found = manager.get_available_resource({})

    assert json.loads(json.dumps(found)) == found
    assert found["hypervisor_hostname"] == socket.gethostname()
    assert {"vcpus", "memory_mb", "local_gb", "cpu_info", "load_average"} <= found.keys()


@pytest.mark.parametrize(("enabled", "said"), [(True, "enabled"), (False, "disabled")])
def test_the_host_is_enabled_and_disabled(
    manager: ComputeManager, registry: RememberingRegistry, enabled: bool, said: str
) -> None:
    assert manager.set_host_enabled({}, enabled, "because") == said
    assert registry.asked == [("node-1", "compute-launcher", not enabled, "because")]


@pytest.mark.parametrize(
    ("enabled", "reason", "sentence"),
    [
        ("yes", None, "enabled must be true or false, and 'yes' is not"),
        (1, None, "enabled must be true or false, and 1 is not"),
        (None, None, "enabled must be true or false, and None is not"),
        (True, 7, "reason must be text or nothing, and 7 is not"),
        (True, ["x"], r"reason must be text or nothing, and \['x'\] is not"),
    ],
)
def test_wrong_arguments_are_an_expected_error_with_a_sentence(
    manager: ComputeManager, enabled: Any, reason: Any, sentence: str
) -> None:
    with pytest.raises(ExpectedException) as caught:
        manager.set_host_enabled({}, enabled, reason)

    kind, error, _traceback = caught.value.exc_info
    assert kind is ArgumentUnusable
    with pytest.raises(ArgumentUnusable, match=sentence):
        raise error


@pytest.mark.parametrize(
    "failure",
    [
        ServiceNotFound(binary="b", host="h"),
        DatabaseUnavailable(url="x", reason="gone"),
    ],
)
def test_what_may_go_wrong_in_the_registry_is_expected(
    manager: ComputeManager, registry: RememberingRegistry, failure: Exception
) -> None:
    registry.failure = failure

    with pytest.raises(ExpectedException) as caught:
        manager.set_host_enabled({}, True)

    assert caught.value.exc_info[1] is failure


@pytest.mark.parametrize(
    "method", ["get_available_resource", "get_host_uptime", "set_host_enabled"]
)
def test_clients_may_call_these(method: str) -> None:
    assert getattr(ComputeManager, method).exposed


@pytest.mark.parametrize("method", ["pre_start_hook", "update_available_resource", "init_host"])
def test_clients_may_not_call_those(method: str) -> None:
    assert not hasattr(getattr(ComputeManager, method), "exposed")


def test_what_is_free_is_rounded_down_and_what_is_used_up() -> None:
    mib, gib = 2**20, 2**30
    found = HostResources(
        vcpus=2,
        vcpus_used=0.5,
        memory_bytes=100 * mib + 1,
        memory_free_bytes=40 * mib - 1,
        disk_bytes=10 * gib,
        disk_free_bytes=3 * gib + 5,
        load_average=(0.5, 0.25, 0.125),
        uptime_seconds=77,
        cpu_info={"arch": "x86_64"},
    )

    assert to_node(found, "h", "hv") == ComputeNode(
        host="h",
        hypervisor_hostname="hv",
        vcpus=2,
        vcpus_used=0.5,
        memory_mb=100,
        memory_mb_used=61,
        local_gb=10,
        local_gb_used=7,
        free_ram_mb=39,
        free_disk_gb=3,
        load_average=(0.5, 0.25, 0.125),
        uptime_seconds=77,
        cpu_info={"arch": "x86_64"},
    )

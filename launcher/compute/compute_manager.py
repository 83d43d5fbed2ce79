"""The manager of `compute-launcher`: keeps the host's row in `compute_nodes` up to date."""

import socket
from typing import Any

from launcher.compute.resources import HostResources, host_uptime, measure
from launcher.errors import (
    DatabaseUnavailable,
    DatabaseUnusable,
    LauncherError,
    ServiceNotFound,
)
from launcher.registry.records import ComputeNode, ReasonUnusable, ServiceRecord
from launcher.serve.manager import Manager, expected_exceptions, expose, idempotent, periodic_task

_MIB = 2**20
_GIB = 2**30


class ArgumentUnusable(LauncherError):
    """{name} must be {wanted}, and {value} is not"""


class ComputeManager(Manager):
    """Measures the host, saves the result, and answers calls about it.

    RPC methods have nova's names and arguments, and return what JSON can carry.
    """

    @classmethod
    def preload(cls, state_path: str) -> None:
        """Measure once, so that the code is loaded before the first fork."""
        measure(state_path)

    def pre_start_hook(self, service: ServiceRecord) -> None:
        """Save the host's resources before the first call. Raises the errors of `registry`."""
        self._save()

    @periodic_task(spacing=60, scope="host")
    def update_available_resource(self, context: Any) -> None:
        """Measure the host and save the result. Raises the errors of `registry`."""
        self._save()

    @expose
    @idempotent
    def get_available_resource(self, context: Any) -> dict[str, object]:
        """The host's resources, measured now: MiB of memory, GiB of disk, seconds of uptime."""
        node = self._measure()
        return {
            "host": node.host,
            "hypervisor_hostname": node.hypervisor_hostname,
            "vcpus": node.vcpus,
            "vcpus_used": node.vcpus_used,
            "memory_mb": node.memory_mb,
            "memory_mb_used": node.memory_mb_used,
            "free_ram_mb": node.free_ram_mb,
            "local_gb": node.local_gb,
            "local_gb_used": node.local_gb_used,
            "free_disk_gb": node.free_disk_gb,
            "load_average": list(node.load_average),
            "uptime_seconds": node.uptime_seconds,
            "cpu_info": node.cpu_info,
        }

    @expose
    @idempotent
    def get_host_uptime(self, context: Any) -> str:
        """The line that uptime(1) prints."""
        return host_uptime()

    @expose
    @idempotent
    @expected_exceptions(
        ArgumentUnusable, ReasonUnusable, ServiceNotFound, DatabaseUnavailable, DatabaseUnusable
    )
    def set_host_enabled(self, context: Any, enabled: bool, reason: str | None = None) -> str:
        """Mark the host as enabled or disabled for new work. Returns "enabled" or "disabled"."""
        _require("enabled", enabled, bool, "true or false")
        _require("reason", reason, str | None, "text or nothing")
        record = self.registry.set_service_disabled(
            self.host, self.context.binary, disabled=not enabled, reason=reason
        )
        return "disabled" if record.disabled else "enabled"

    def _save(self) -> None:
        self.registry.save_compute_node(self._measure())

    def _measure(self) -> ComputeNode:
        found = measure(self.context.state_path)
        node = to_node(found, self.host, socket.gethostname())
        return node._replace(binary=self.context.binary)


def to_node(found: HostResources, host: str, hypervisor_hostname: str) -> ComputeNode:
    """Convert to the registry's units. Free sizes are rounded down, used ones up."""
    memory_mb, free_ram_mb = found.memory_bytes // _MIB, found.memory_free_bytes // _MIB
    local_gb, free_disk_gb = found.disk_bytes // _GIB, found.disk_free_bytes // _GIB
    return ComputeNode(
        host=host,
        hypervisor_hostname=hypervisor_hostname,
        vcpus=found.vcpus,
        vcpus_used=found.vcpus_used,
        memory_mb=memory_mb,
        memory_mb_used=memory_mb - free_ram_mb,
        local_gb=local_gb,
        local_gb_used=local_gb - free_disk_gb,
        free_ram_mb=free_ram_mb,
        free_disk_gb=free_disk_gb,
        load_average=found.load_average,
        uptime_seconds=found.uptime_seconds,
        cpu_info=found.cpu_info,
    )


def _require(name: str, value: object, kind: Any, wanted: str) -> None:
    if not isinstance(value, kind):
        raise ArgumentUnusable(name=name, wanted=wanted, value=repr(value)[:60])

"""The client's side of the compute manager's RPC methods."""

from typing import Any

import oslo_messaging

TOPIC = "compute"


class ComputeAPI:
    """Calls the compute service of one host. Plain values in and out; safe for many threads.

    Each method raises oslo_messaging.MessagingTimeout when nobody answers in time,
    oslo_messaging.RemoteError when the service refuses or fails.
    """

    def __init__(
        self, transport: Any, host: str | None = None, timeout: float | None = None
    ) -> None:
        """`host` None: any host's service may answer; `timeout` in seconds, None: as configured
        by rpc_response_timeout."""
        target = oslo_messaging.Target(topic=TOPIC, version="1.0", server=host)
        self._client = oslo_messaging.get_rpc_client(transport, target, timeout=timeout)

    def get_available_resource(self, context: dict[str, Any]) -> dict[str, Any]:
        """Processors, memory in MiB, disk in GiB, load, uptime in seconds, as measured now."""
        result: dict[str, Any] = self._client.call(context, "get_available_resource")
        return result

    def get_host_uptime(self, context: dict[str, Any]) -> str:
        """A line as uptime(1) prints it."""
        return str(self._client.call(context, "get_host_uptime"))

    def set_host_enabled(
        self, context: dict[str, Any], enabled: bool, reason: str | None = None
    ) -> str:
        """Let the host have new work, or none; gives back "enabled" or "disabled"."""
        return str(self._client.call(context, "set_host_enabled", enabled=enabled, reason=reason))

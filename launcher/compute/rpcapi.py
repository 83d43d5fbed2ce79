"""A client of the compute manager's RPC methods."""

from typing import Any

import oslo_messaging

TOPIC = "compute"


class ComputeAPI:
    """Calls the compute service of a host. Takes and returns plain values. Thread-safe.

    Each method raises oslo_messaging.MessagingTimeout when no answer comes in time, and
    oslo_messaging.RemoteError when the method raises.
    """

    def __init__(
        self, transport: Any, host: str | None = None, timeout: float | None = None
    ) -> None:
        """
        :param host: None: the service of any host may answer.
        :param timeout: seconds; None: the option rpc_response_timeout.
        """
        target = oslo_messaging.Target(topic=TOPIC, version="1.0", server=host)
        self._client = oslo_messaging.get_rpc_client(transport, target, timeout=timeout)

    def get_available_resource(self, context: dict[str, Any]) -> dict[str, Any]:
        """Measure now: processors, memory in MiB, disk in GiB, load, uptime in seconds."""
        result: dict[str, Any] = self._client.call(context, "get_available_resource")
        return result

    def get_host_uptime(self, context: dict[str, Any]) -> str:
        """The line that uptime(1) prints."""
        return str(self._client.call(context, "get_host_uptime"))

    def set_host_enabled(
        self, context: dict[str, Any], enabled: bool, reason: str | None = None
    ) -> str:
        """Mark the host as enabled or disabled for new work. Returns "enabled" or "disabled"."""
        return str(self._client.call(context, "set_host_enabled", enabled=enabled, reason=reason))

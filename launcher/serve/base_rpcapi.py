"""The methods that every worker answers, with any manager."""

from typing import Any, ClassVar

import oslo_messaging

from launcher.serve.rpc import BASE_NAMESPACE, expose, idempotent, skip_tracking


class BaseRPCAPI:
    """Their endpoint, in the namespace `baseapi`."""

    target: ClassVar[oslo_messaging.Target] = oslo_messaging.Target(
        namespace=BASE_NAMESPACE, version="1.1"
    )

    def __init__(self, identity: dict[str, Any], backdoor: str | None = None) -> None:
        self._identity = identity
        self._backdoor = backdoor

    @expose
    @idempotent
    @skip_tracking
    def ping(self, context: dict[str, Any], arg: Any = None) -> dict[str, Any]:
        """The worker that answered (service, host, slot, pid) and the argument `arg`."""
        return {**self._identity, "arg": arg}

    @expose
    @idempotent
    @skip_tracking
    def get_backdoor_port(self, context: dict[str, Any]) -> str | None:
        """The path of this worker's debug console, a unix socket; None if `backdoor` is off."""
        return self._backdoor

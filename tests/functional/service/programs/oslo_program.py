"""A program on oslo.service."""

import sys
from typing import Any

from oslo_service import service

from tests.functional.service.programs import common, timers


class Service(service.Service):  # type: ignore[misc]
    """Serves calls."""

    topic = "compute"
    transport: Any = None

    def __init__(self) -> None:
        super().__init__()
        self._server: Any = None

    def start(self) -> None:
        """Listen."""
        common.begin()
        if common.CONF.serves:
            self._server = common.make_server(self.topic, self.transport)
            self._server.start()
        if common.CONF.timers:
            timers.add_to(self.tg)

    def stop(self, graceful: bool = False) -> None:
        """Stop, and wait for the calls in hand."""
        common.end()
        if self._server is not None:
            self._server.stop()
            self._server.wait()
        super().stop(graceful)


def main() -> None:
    """The console script."""
    common.configure(sys.argv)
    if common.CONF.fault != "return":
        launcher = service.launch(common.CONF, Service(), workers=common.CONF.workers)
        launcher.wait()

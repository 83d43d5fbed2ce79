"""A program on cotyledon. It does not wait for its calls when it is told to stop."""

import sys
from typing import Any

import cotyledon
from cotyledon import oslo_config_glue

from tests.functional.service.programs import common, timers


class Service(cotyledon.Service):
    """Serves calls."""

    topic = "compute"

    def __init__(self, worker_id: Any, conf: Any) -> None:
        super().__init__(worker_id)
        self._server: Any = None

    def run(self) -> None:
        """Listen."""
        common.begin()
        if common.CONF.serves:
            self._server = common.make_server(self.topic)
            self._server.start()
        if common.CONF.timers:
            self._poller = timers.make_poller()
            self._poller.start()

    def terminate(self) -> None:
        """Stop, and wait for nothing."""
        common.end()
        if self._server is not None:
            self._server.stop()


def main() -> None:
    """The console script."""
    common.configure(sys.argv)
    if common.CONF.fault == "return":
        return
    manager = cotyledon.ServiceManager()
    manager.add(Service, workers=common.CONF.workers, args=(common.CONF,))
    oslo_config_glue.setup(manager, common.CONF, reload_method="mutate")
    manager.run()

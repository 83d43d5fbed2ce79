"""A stop finishes the call in hand, then calls the manager's hooks."""

import logging
from pathlib import Path

from launcher.serve.manager import Manager, expose

LOG = logging.getLogger(__name__)


class Reader(Manager):
    @expose
    def read(self, context, path):
        """Give back what is in a file. A named pipe takes until somebody writes into it."""
        LOG.info("reading %s", path)
        return Path(path).read_text()

    def graceful_shutdown(self, timeout):
        """No new call arrives. Wait here for work of your own, `timeout` seconds at most."""
        LOG.info("no new calls")

    def cleanup_host(self):
        """All calls are answered. Close here what init_host has opened."""
        LOG.info("cleaned up")

"""A call is answered at once; its work goes on, and a stop waits for it."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launcher.serve.manager import Manager, expose

LOG = logging.getLogger(__name__)


class Copier(Manager):
    def init_host(self, service):
        """Threads do not survive a fork: make them here, and not when the module is imported."""
        self.pool = ThreadPoolExecutor(max_workers=4)

    @expose
    def copy(self, context, source, target):
        """Begin to copy a file. A named pipe takes until somebody writes into it."""
        work = self.pool.submit(self._copy, source, target)
        self.context.track(work, f"copy of {source}")

    def _copy(self, source, target):
        try:
            Path(target).write_bytes(Path(source).read_bytes())
            LOG.info("%s is complete", target)
        except OSError as error:  # nobody waits for the answer
            LOG.error("%s cannot be copied: %s", source, error)

    def cleanup_host(self):
        self.pool.shutdown()

"""A call of an idempotent method survives the death of its worker."""

import logging
from pathlib import Path

from launcher.serve.manager import Manager, expose, idempotent

LOG = logging.getLogger(__name__)


class Reader(Manager):
    @expose
    @idempotent
    def read(self, context, path):
        """Give back what is in a file. A named pipe takes until somebody writes into it.

        Executed twice it does no harm: reading changes nothing.
        """
        LOG.info("reading %s", path)
        return Path(path).read_text()

"""The manager that ours is measured with: compute's, and what the clients of the bench call."""

import gc
import os
import time
from typing import Any

from launcher.compute.compute_manager import ComputeManager
from launcher.serve.manager import expose


class Bench(ComputeManager):
    """All that ComputeManager does, periodic tasks included."""

    @expose
    def whoami(self, context: Any) -> int:
        """The pid."""
        return os.getpid()

    @expose
    def answer(self, context: Any, key: str, seconds: float = 0.0) -> str:
        """The key again, after a while."""
        if seconds:
            time.sleep(seconds)
        return key

    @expose
    def collect(self, context: Any) -> int:
        """A full collection of garbage."""
        return gc.collect()

"""A periodic task that hangs costs its worker, not the service."""

import threading

from launcher.serve.manager import Manager, expose, periodic_task


class Poller(Manager):
    """Asks a device once a second. The device is played by an event."""

    def init_host(self, service):
        self.device = threading.Event()
        self.device.set()

    @periodic_task(spacing=1, timeout=3, run_immediately=True)
    def poll(self, context):
        """Runs in every worker. After `timeout` seconds it counts as stuck."""
        self.device.wait()

    @expose
    def unplug(self, context):
        """The device of this worker answers no more, so its next poll does not end."""
        self.device.clear()

import json
import random
import time
from pathlib import Path

from oslo_config import cfg

from launcher.serve.manager import Manager, expose, idempotent, periodic_task

OPTS = [cfg.FloatOpt("offset", default=0.0, help="Degrees Celsius added to the sensor's value.")]
cfg.CONF.register_opts(OPTS, group="thermometer")  # `config check` then knows them


class Thermometer(Manager):
    """Each worker has a Thermometer of its own. The reading is a file, which all of them share."""

    def init_host(self, service):
        self.reading = Path(self.context.state_path, "reading.json")

    def pre_start_hook(self, service):
        self.measure(None)  # before the first call

    @periodic_task(spacing=5, timeout=10, run_immediately=True, scope="host")
    def measure(self, context):
        """Runs in one worker only: the sensor is asked once, however many workers there are."""
        celsius = random.gauss(20, 1) + self.context.conf.thermometer.offset  # the sensor
        draft = self.reading.with_suffix(f".{self.context.slot}")  # own: each start measures
        draft.write_text(json.dumps({"celsius": celsius, "measured_at": time.time()}))
        draft.replace(self.reading)  # atomic: nobody reads half of it

    @expose
    @idempotent
    def get_temperature(self, context):
        """Runs in any worker. All of them give the same answer."""
        return json.loads(self.reading.read_text())

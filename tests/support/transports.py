"""oslo.messaging with a configuration of its own, as another process would have it."""

from pathlib import Path

import oslo_messaging
from oslo_config import cfg
from oslo_messaging._metrics import client as metrics
from oslo_messaging._tracing import client as tracing


def configuration(url: str, *files: Path) -> cfg.ConfigOpts:
    """A private one with this transport_url, else as in these files. Two groups are on the global
    configuration alone (oslo.messaging 18.3), hence the private names."""
    conf = cfg.ConfigOpts()
    conf([], project="tests", default_config_files=[str(file) for file in files])
    conf.register_opts(tracing.oslo_messaging_tracing, group="oslo_messaging_tracing")
    conf.register_opts(metrics.oslo_messaging_metrics, group="oslo_messaging_metrics")
    oslo_messaging.TransportURL.parse(conf)
    conf.set_override("transport_url", url)
    return conf

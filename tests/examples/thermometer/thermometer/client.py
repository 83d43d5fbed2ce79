"""Ask the thermometer of a host: python -m thermometer.client FILE HOST"""

import sys

import oslo_messaging
from oslo_config import cfg

file, host = sys.argv[1:]
cfg.CONF([], default_config_files=[file])  # transport_url, and [oslo_messaging_rabbit]
target = oslo_messaging.Target(
    exchange="launcher",  # option control_exchange of the service
    topic="thermometer",  # the script's name without -launcher
    server=host,  # option host of the service; None: any host's may answer
    version="1.0",  # as in Manager.target, which has no namespace
)
transport = oslo_messaging.get_rpc_transport(cfg.CONF)
client = oslo_messaging.get_rpc_client(transport, target, timeout=10)
try:
    print(client.call({}, "get_temperature"))
except oslo_messaging.MessagingException as error:
    sys.exit(f"thermometer.client: {error}")
transport.cleanup()

"""The SQL statements of the registry. Made once: in the master, for all workers.

Values are given when a statement is executed. Parameters `of_…` select the rows; the others name
columns that an insert or update sets.
"""

from sqlalchemy import bindparam, delete, insert, select, update

from launcher.registry.models import compute_nodes, services

_OF_SERVICE = (
    services.c.host == bindparam("of_host"),
    services.c.binary == bindparam("of_binary"),
)
_OF_NODE = (
    compute_nodes.c.host == bindparam("of_host"),
    compute_nodes.c.hypervisor_hostname == bindparam("of_hypervisor"),
)

SERVICE = select(services).where(*_OF_SERVICE)
SERVICES = select(services).order_by(services.c.binary, services.c.host)
SERVICES_OF_HOST = SERVICES.where(services.c.host == bindparam("of_host"))
INSERT_SERVICE = insert(services)
CHANGE_SERVICE = update(services).where(*_OF_SERVICE)
CHANGE_SERVICE_BY_ID = update(services).where(services.c.id == bindparam("of_id"))
REPORT_SERVICE = CHANGE_SERVICE.values(report_count=services.c.report_count + 1)
DELETE_SERVICE = delete(services).where(*_OF_SERVICE)

NODES = select(compute_nodes).order_by(compute_nodes.c.host, compute_nodes.c.hypervisor_hostname)
NODES_OF_HOST = NODES.where(compute_nodes.c.host == bindparam("of_host"))
INSERT_NODE = insert(compute_nodes)
CHANGE_NODE = update(compute_nodes).where(*_OF_NODE)

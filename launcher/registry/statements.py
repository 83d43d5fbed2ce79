"""The SQL statements of the registry. Made once: in the master, for all workers.

Values are given when a statement is executed. Parameters `of_…` select the rows; the others name
columns that an insert or update sets. Times are the database's.
"""

from sqlalchemy import and_, bindparam, case, delete, func, insert, not_, or_, select, update

from launcher.registry.models import UtcDateTime, compute_nodes, services
from launcher.registry.records import ServiceRecord, ServiceState
from launcher.registry.utc_now import age_of, utc_now

_OF_SERVICE = (
    services.c.host == bindparam("of_host"),
    services.c.binary == bindparam("of_binary"),
)
_OF_ID = services.c.id == bindparam("of_id")
_OF_NODE = (
    compute_nodes.c.host == bindparam("of_host"),
    compute_nodes.c.hypervisor_hostname == bindparam("of_hypervisor"),
)
_EARLIEST, _LATEST = (bindparam(name, type_=UtcDateTime()) for name in ("earliest", "latest"))
_DETAILED = and_(services.c.state == str(ServiceState.UP), services.c.state_detail.is_not(None))
_COLUMNS = {
    **services.c,
    "state": case((_DETAILED, services.c.state_detail), else_=services.c.state).label("state"),
    "as_of": utc_now().label("as_of"),
}
LISTED = _COLUMNS | {"report_age": age_of(services.c.last_seen_up).label("report_age")}

SERVICES = select(*(_COLUMNS[name] for name in ServiceRecord._fields)).order_by(
    services.c.binary, services.c.host
)
SERVICE = SERVICES.where(*_OF_SERVICE).order_by(None)
INSERT_SERVICE = insert(services)
CHANGE_SERVICE = update(services).where(*_OF_SERVICE).values(updated_at=utc_now())
RENEW_SERVICE = update(services).where(_OF_ID)
DELETE_SERVICE = delete(services).where(
    _OF_ID, services.c.report_count == bindparam("of_report_count")
)

_REPORTED = {
    "report_count": services.c.report_count + 1,
    "last_seen_up": utc_now(),
    "updated_at": utc_now(),
}
REPORT_SERVICE = update(services).where(*_OF_SERVICE).values(_REPORTED)
# Matches only a row that is as the reporter believes: so one statement finds all that changed.
REPORT_AS_BELIEVED = REPORT_SERVICE.where(
    services.c.start_id == bindparam("of_start"),
    services.c.rival_on.is_(None),
    services.c.disabled == bindparam("of_disabled"),
    services.c.disabled_reason.is_not_distinct_from(bindparam("of_disabled_reason")),
    utc_now().between(_EARLIEST, _LATEST),
)
_OF_START = and_(_OF_ID, services.c.start_id == bindparam("of_start"))
REPORT_OF_START = update(services).where(_OF_START).values(_REPORTED)
NOTE_RIVAL = update(services).where(_OF_START).values(rival_seen_at=utc_now())
DISMISS_RIVAL = (
    update(services)
    .where(_OF_START, services.c.rival_on == bindparam("of_rival"))
    .values(rival_on=None, rival_since=None, rival_seen_at=None)
)

_OTHERS = not_(and_(*_OF_SERVICE))
OTHERS = select(func.max(services.c.oldest_version).label("needed"), utc_now().label("now")).where(
    _OTHERS
)
WITH_OLDEST_VERSION = SERVICES.where(services.c.oldest_version == bindparam("of_version")).where(
    _OTHERS
)
NEWEST_VERSION = select(func.max(services.c.service_version))
OLDEST_VERSIONS = (
    select(services.c.host, func.min(services.c.service_version).label("oldest"))
    .group_by(services.c.host)
    .order_by("oldest", services.c.host)
)

NODES = select(compute_nodes).order_by(compute_nodes.c.host, compute_nodes.c.hypervisor_hostname)
NODES_OF_HOST = NODES.where(compute_nodes.c.host == bindparam("of_host"))
INSERT_NODE = insert(compute_nodes).values(created_at=utc_now(), updated_at=utc_now())
CHANGE_NODE = update(compute_nodes).where(*_OF_NODE).values(updated_at=utc_now())
DELETE_NODES = delete(compute_nodes).where(
    compute_nodes.c.host == bindparam("of_host"),
    or_(
        compute_nodes.c.binary == bindparam("of_binary"),
        compute_nodes.c.binary == "",  # saved by a program that needs schema 0001
    ),
)

"""Fills SQLAlchemy's caches in the master, before the first fork, without opening a database.

The caches then lie in memory pages that all workers share. That saves each worker a third of its
start and four megabytes.
"""

from launcher.config.masking import mask_url
from launcher.registry import engine, schema, statements, urls
from launcher.registry.database import Database
from launcher.registry.records import Belief, ComputeNode, ServiceState, Start
from launcher.registry.store import SqlRegistry


def warm_up(url: str) -> None:
    """Make the database for the workers to come. For SQLite, run their first statements on a
    database in memory; for others, compile the statements. Called while no other thread lives: a
    worker forked meanwhile would inherit locks that are never released.

    :raises DatabaseUnusable: no engine can be made.
    """
    parsed = urls.parse(url)
    if parsed.get_backend_name() == "sqlite":
        from launcher.registry.sqlite import SqliteFile  # noqa: PLC0415  # not for others

        file = SqliteFile(parsed, mask_url(url))
        database = engine.make_sqlite_database(parsed, file, mask_url(url), file.connect)
        with file.in_memory():
            _play(database)
    else:
        database = engine.make_database(url)
        database.compile(
            schema.VERSION,
            statements.SERVICE,
            statements.REPORT_AS_BELIEVED,
            statements.CHANGE_NODE,
        )
    engine.bequeath(url, database)


def _play(database: Database) -> None:
    registry = SqlRegistry(engine.reached(database))
    for _ in ("inserted", "found"):
        row = registry.register_service(
            "host", "binary", topic="topic", version="0", workers=1, start=_START
        )
        registry.save_compute_node(_NODE)
    belief = Belief(_START, None, False, None, row.as_of, row.as_of, 60)
    registry.report_service(
        "host", "binary", state=ServiceState.UP, workers=1, workers_serving=1, belief=belief
    )
    registry.newest_version()
    registry.close()


_START = Start("id", "place")
_NODE = ComputeNode(
    host="host",
    hypervisor_hostname="host",
    vcpus=1,
    vcpus_used=0.0,
    memory_mb=1,
    memory_mb_used=0,
    local_gb=1,
    local_gb_used=0,
    free_ram_mb=1,
    free_disk_gb=1,
    load_average=(0.0, 0.0, 0.0),
    uptime_seconds=1,
    cpu_info={},
)

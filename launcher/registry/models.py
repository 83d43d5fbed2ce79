"""The tables in SQLAlchemy Core: the same on SQLite, PostgreSQL and MariaDB. A change of them
needs a revision in migrations/versions.

Times are stored as UTC without a zone, and are aware UTC datetimes in Python. A unique index of
two names stays below InnoDB's 3072 bytes with four-byte characters.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    Integer,
    MetaData,
    String,
    Table,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.types import TypeEngine

NAME_LENGTH = 255


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime, stored in UTC to the microsecond. ValueError for a naive one."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime]:
        """MariaDB drops fractions of a second unless told otherwise."""
        if dialect.name not in {"mysql", "mariadb"}:
            return dialect.type_descriptor(DateTime())
        from sqlalchemy.dialects import mysql  # noqa: PLC0415  # loaded for this dialect only

        return dialect.type_descriptor(mysql.DATETIME(fsp=6))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database: UTC, without its zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone: {value!r}")
        return value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database: aware again."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = MetaData()

services = Table(
    "services",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("host", String(NAME_LENGTH), nullable=False),
    Column("binary", String(NAME_LENGTH), nullable=False),
    Column("topic", String(NAME_LENGTH), nullable=False),
    Column("version", String(64), nullable=False),
    Column("report_count", Integer, nullable=False),
    Column("last_seen_up", UtcDateTime),
    Column("state", String(16), nullable=False),
    Column("workers", Integer, nullable=False),
    Column("workers_serving", Integer, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("disabled_reason", String(255)),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime),
    # Since schema 0002. A program that needs 0001 inserts rows without them, hence the defaults.
    Column("state_detail", String(16)),  # in place of "up"; that program knows no other states
    Column("service_version", Integer, nullable=False, server_default="1"),
    Column("oldest_version", Integer, nullable=False, server_default="1"),
    Column("forced_down", Boolean, nullable=False, server_default=false()),
    Column("start_id", String(32), nullable=False, server_default=""),
    Column("started_on", String(NAME_LENGTH), nullable=False, server_default=""),
    Column("started_at", UtcDateTime),
    Column("rival_on", String(NAME_LENGTH)),
    Column("rival_since", UtcDateTime),
    Column("rival_seen_at", UtcDateTime),
    UniqueConstraint("host", "binary", name="uniq_services_host_binary"),
    sqlite_autoincrement=True,  # no id is used twice, as in other databases
)

compute_nodes = Table(
    "compute_nodes",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("host", String(NAME_LENGTH), nullable=False),
    Column("hypervisor_hostname", String(NAME_LENGTH), nullable=False),
    Column("vcpus", Integer, nullable=False),
    Column("vcpus_used", Double, nullable=False),
    Column("memory_mb", Integer, nullable=False),
    Column("memory_mb_used", Integer, nullable=False),
    Column("local_gb", Integer, nullable=False),
    Column("local_gb_used", Integer, nullable=False),
    Column("free_ram_mb", Integer, nullable=False),
    Column("free_disk_gb", Integer, nullable=False),
    Column("load_1m", Double, nullable=False),
    Column("load_5m", Double, nullable=False),
    Column("load_15m", Double, nullable=False),
    Column("uptime_seconds", Integer, nullable=False),
    Column("cpu_info", JSON, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime),
    Column("binary", String(NAME_LENGTH), nullable=False, server_default=""),  # since schema 0002
    UniqueConstraint("host", "hypervisor_hostname", name="uniq_compute_nodes_host_hypervisor"),
    sqlite_autoincrement=True,  # no id is used twice, as in other databases
)

"""The tables of services and of compute nodes."""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from launcher.registry import repeatable

revision = "0001_from_0001"
down_revision = None

_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """Databases from before alembic have these tables already."""
    repeatable.create_table(
        "services",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("binary", sa.String(255), nullable=False),
        sa.Column("topic", sa.String(255), nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("report_count", sa.Integer, nullable=False),
        sa.Column("last_seen_up", _TIME),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("workers", sa.Integer, nullable=False),
        sa.Column("workers_serving", sa.Integer, nullable=False),
        sa.Column("disabled", sa.Boolean, nullable=False),
        sa.Column("disabled_reason", sa.String(255)),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME),
        sa.UniqueConstraint("host", "binary", name="uniq_services_host_binary"),
        sqlite_autoincrement=True,
    )
    repeatable.create_table(
        "compute_nodes",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("hypervisor_hostname", sa.String(255), nullable=False),
        sa.Column("vcpus", sa.Integer, nullable=False),
        sa.Column("vcpus_used", sa.Double, nullable=False),
        sa.Column("memory_mb", sa.Integer, nullable=False),
        sa.Column("memory_mb_used", sa.Integer, nullable=False),
        sa.Column("local_gb", sa.Integer, nullable=False),
        sa.Column("local_gb_used", sa.Integer, nullable=False),
        sa.Column("free_ram_mb", sa.Integer, nullable=False),
        sa.Column("free_disk_gb", sa.Integer, nullable=False),
        sa.Column("load_1m", sa.Double, nullable=False),
        sa.Column("load_5m", sa.Double, nullable=False),
        sa.Column("load_15m", sa.Double, nullable=False),
        sa.Column("uptime_seconds", sa.Integer, nullable=False),
        sa.Column("cpu_info", sa.JSON, nullable=False),
        sa.Column("created_at", _TIME, nullable=False),
        sa.Column("updated_at", _TIME),
        sa.UniqueConstraint(
            "host", "hypervisor_hostname", name="uniq_compute_nodes_host_hypervisor"
        ),
        sqlite_autoincrement=True,
    )

"""Which start owns a row, its service version, states of a fleet."""

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from launcher.registry import repeatable

revision = "0002_from_0001"
down_revision = "0001_from_0001"

_TIME = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), "mysql", "mariadb")


def upgrade() -> None:
    """A program that needs 0001 inserts rows without these columns."""
    for column in (
        sa.Column("state_detail", sa.String(16)),
        sa.Column("service_version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("oldest_version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("forced_down", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("start_id", sa.String(32), nullable=False, server_default=""),
        sa.Column("started_on", sa.String(255), nullable=False, server_default=""),
        sa.Column("started_at", _TIME),
        sa.Column("rival_on", sa.String(255)),
        sa.Column("rival_since", _TIME),
        sa.Column("rival_seen_at", _TIME),
    ):
        repeatable.add_column("services", column)
    binary = sa.Column("binary", sa.String(255), nullable=False, server_default="")
    repeatable.add_column("compute_nodes", binary)

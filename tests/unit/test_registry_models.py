"""The tables fit every supported database, and values come back unchanged."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import String, Table, UniqueConstraint
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.schema import CreateTable

from launcher.registry.models import UtcDateTime, metadata

INNODB_KEY_BYTES = 3072
BYTES_PER_CHARACTER = 4  # utf8mb4
TABLES = list(metadata.tables.values())


def ddl(table: Table, dialect: Any) -> str:
    return str(CreateTable(table).compile(dialect=dialect()))


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_mariadb_keeps_microseconds(table: Table) -> None:
    assert "updated_at DATETIME(6)" in ddl(table, mysql.dialect)


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_unique_indexes_fit_into_innodb(table: Table) -> None:
    keys = [key for key in table.constraints if isinstance(key, UniqueConstraint)]

    assert keys
    for key in keys:
        lengths = [c.type.length or 0 for c in key.columns if isinstance(c.type, String)]
        assert 0 < sum(lengths) * BYTES_PER_CHARACTER <= INNODB_KEY_BYTES


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_postgresql_numbers_rows_by_itself(table: Table) -> None:
    text = ddl(table, postgresql.dialect)

    assert "id SERIAL NOT NULL" in text
    assert "updated_at TIMESTAMP WITHOUT TIME ZONE" in text


@pytest.mark.parametrize("table", TABLES, ids=str)
def test_sqlite_never_gives_an_id_out_again(table: Table) -> None:
    assert "AUTOINCREMENT" in ddl(table, sqlite.dialect)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="a time without a zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), sqlite.dialect())


def test_a_time_goes_in_as_utc_and_comes_out_aware() -> None:
    east = datetime.fromisoformat("2026-01-01T02:00+02:00")

    stored = UtcDateTime().process_bind_param(east, sqlite.dialect())

    assert stored == datetime(2026, 1, 1)
    assert UtcDateTime().process_result_value(stored, sqlite.dialect()) == east.astimezone(UTC)

"""The schema of a database: `db upgrade`, `db check`, `db history`, on each database."""

import json
import os
import re
import secrets
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect, make_url, text
from sqlalchemy.pool import NullPool

from launcher.cli.db_command import MOST_HOSTS, bring_up
from launcher.errors import DatabaseUnavailable, DatabaseUnusable
from launcher.registry import engine, models, schema_upgrade
from launcher.registry.records import Start
from launcher.registry.schema import NEEDED
from tests.support import next_release
from tests.support.commands import Completed, run, run_script
from tests.support.databases import Database, Server
from tests.support.next_release import FAIL, NEXT
from tests.support.pgbouncer import PROGRAM, pgbouncer

PROCESSES = 16
DEADLINE = 120.0
BEFORE_ALEMBIC = Path(__file__).parent / "before_alembic.sql"
CHECKOUT = Path(__file__).parents[2]

Db = Callable[..., Completed]

pytestmark = pytest.mark.timeout(4 * DEADLINE)


@pytest.fixture(scope="module")
def next_env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the next release."""
    return next_release.make(tmp_path_factory.mktemp("next"))


@pytest.fixture
def db(tmp_path: Path) -> Db:
    """`db("check", url)`; `env` may name another release."""

    def command(
        verb: str, url: str, *options: str, env: dict[str, str] | None = None
    ) -> Completed:
        state = tmp_path / "state"
        state.mkdir(mode=0o700, exist_ok=True)
        paths = {"OS_DEFAULT__STATE_PATH": str(state), "OS_DEFAULT__RUNTIME_PATH": str(state)}
        found = {**os.environ, **paths, "OS_DATABASE__CONNECTION": url, **(env or {})}
        return run_script("compute-launcher", ["db", verb, *options], env=found, deadline=DEADLINE)

    return command


@contextmanager
def connected(url: str) -> Iterator[Any]:
    """A connection, whatever the schema is."""
    with create_engine(url, poolclass=NullPool).begin() as connection:
        yield connection


def execute(url: str, statement: str) -> list[Any]:
    """Execute and commit it; its rows."""
    with connected(url) as connection:
        done = connection.execute(text(statement))
        return [tuple(row) for row in done] if done.returns_rows else []


def columns(url: str) -> set[str]:
    """Of `services`."""
    with connected(url) as connection:
        return {one["name"] for one in inspect(connection).get_columns("services")}


def differences(url: str) -> list[Any]:
    """What alembic would have to do to make the database as the models say."""
    with connected(url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        found: list[Any] = compare_metadata(context, models.metadata)
        return found


def race(url: str, env: dict[str, str] | None = None) -> list[str | None]:
    """What each of many processes has found that upgrade at once."""
    command: list[str | Path] = [
        sys.executable,
        CHECKOUT / "tests/support/upgrade_race.py",
        url,
        str(PROCESSES),
    ]
    path = {"PYTHONPATH": str(CHECKOUT)}
    done = run(command, env={**os.environ, **path, **(env or {})}, deadline=DEADLINE)
    assert done.status == 0, done.stderr
    found: list[str | None] = json.loads(done.stdout)
    return found


def as_before_alembic(url: str) -> None:
    """Make the SQLite file of a URL as the program did before it had migrations."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        connection.executescript(BEFORE_ALEMBIC.read_text())


def test_what_the_revisions_make_is_what_the_models_say(empty_database: Database) -> None:
    bring_up(empty_database.url)

    assert differences(empty_database.url) == []


def test_what_a_taken_over_file_has_is_what_the_models_say(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/launcher.sqlite"
    as_before_alembic(url)

    bring_up(url)

    assert differences(url) == []


def test_a_difference_to_the_models_would_be_seen(database: Database) -> None:
    execute(database.url, "ALTER TABLE services ADD COLUMN another INTEGER")

    assert [change[0] for change in differences(database.url)] == ["remove_column"]


def test_no_id_is_used_twice_on_sqlite_however_the_tables_were_made(tmp_path: Path) -> None:
    new, old = (f"sqlite:///{tmp_path}/{name}" for name in ("new", "old"))
    as_before_alembic(old)
    with connected(f"sqlite:///{tmp_path}/revisions") as connection:
        schema_upgrade.upgrade(connection, "shown")
    for url in (new, old):
        bring_up(url)

    for url in (new, old, f"sqlite:///{tmp_path}/revisions"):
        query = "SELECT sql FROM sqlite_master WHERE name IN ('services', 'compute_nodes')"
        assert [" AUTOINCREMENT," in sql for (sql,) in execute(url, query)] == [True, True]


def test_mariadb_stores_every_character_and_tells_names_apart(mariadb: Server) -> None:
    with mariadb.database() as made:
        bring_up(made.url)
        query = (
            "SELECT engine, table_collation FROM information_schema.tables "
            f"WHERE table_schema = '{made.name}' AND table_name <> 'alembic_version'"
        )

        assert execute(made.url, query) == [("InnoDB", "utf8mb4_bin")] * 2


def test_16_processes_at_once_upgrade_an_empty_database(empty_database: Database) -> None:
    found = race(empty_database.url)

    assert set(found) <= {None, NEEDED}, found
    if empty_database.server:  # it tells what was found with the lock in hand
        assert found.count(None) == 1
    assert differences(empty_database.url) == []


def test_16_processes_at_once_upgrade_to_the_next_release(
    database: Database, next_env: dict[str, str]
) -> None:
    found = race(database.url, next_env)

    assert set(found) <= {NEEDED, NEXT}, found
    if database.server:
        assert found.count(NEEDED) == 1
    assert {"rack", "shelf"} < columns(database.url)


def test_16_processes_at_once_take_an_old_file_over(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/launcher.sqlite"
    as_before_alembic(url)

    assert set(race(url)) <= {None, NEEDED}
    assert execute(url, "SELECT host, id FROM services") == [("node-1", 1)]


def test_a_server_that_reads_old_snapshots_is_upgraded_once(postgresql: Server) -> None:
    """What is read with the lock in hand must be what the process before has left."""
    with postgresql.database() as made:
        level = "default_transaction_isolation = 'repeatable read'"
        made.execute(f"ALTER DATABASE {made.name} SET {level}")

        found = race(made.url)

    assert sorted(map(str, found)) == [NEEDED] * (PROCESSES - 1) + ["None"]


def test_16_processes_at_once_upgrade_through_pgbouncer(postgresql: Server) -> None:
    """In transaction mode, with fewer sessions than processes."""
    if not PROGRAM.exists():
        pytest.skip("pgbouncer is not installed; `make test` installs it")
    with postgresql.database() as made, pgbouncer(made) as through:
        found = race(through)

    assert sorted(map(str, found)) == [NEEDED] * (PROCESSES - 1) + ["None"]


def test_a_revision_that_fails_half_way_is_run_again(
    database: Database, db: Db, next_env: dict[str, str]
) -> None:
    before = columns(database.url)

    failed = db("upgrade", database.url, env=next_env | {FAIL: "1"})

    assert failed.status == 78
    assert "nowhere" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert execute(database.url, "SELECT * FROM alembic_version") == [(NEEDED,)]
    kept = {"rack"} if database.server and database.server.kind == "mariadb" else set()
    assert columns(database.url) - before == kept
    assert db("check", database.url).status == 0

    again = db("upgrade", database.url, env=next_env)

    assert again.status == 0, again.stderr
    assert f"the schema is {NEXT} now, and was {NEEDED}" in again.stdout
    assert columns(database.url) - before == {"rack", "shelf"}


def test_an_old_file_is_taken_over_without_loss(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/launcher.sqlite"
    as_before_alembic(url)

    registry = engine.open_registry(url)

    (service,), (node,) = registry.list_services(), registry.list_compute_nodes()
    registry.close()
    assert (service.id, service.host, service.disabled_reason) == (1, "node-1", "disks")
    assert (node.vcpus, node.cpu_info["model"]) == (8, "Größe ✓")
    assert execute(url, "SELECT * FROM alembic_version") == [(NEEDED,)]
    assert execute(url, "PRAGMA user_version") == [(1,)]  # the program before still takes it


@pytest.mark.parametrize("schema", [None, "0000_from_0000", "0007_from_0006", "a1b2c3"])
def test_a_server_is_used_only_with_a_schema_of_this_program(
    server: Server, db: Db, schema: str | None
) -> None:
    told = {
        None: "it has no tables of this program; run 'db upgrade'",
        "0000_from_0000": f"0000_from_0000 and this program needs {NEEDED}; run 'db upgrade'",
        "0007_from_0006": f"0007_from_0006 and this program needs {NEEDED}; upgrade the program",
        "a1b2c3": "its table alembic_version is another program's (a1b2c3); name another database",
    }
    with server.database() as made:
        if schema:
            bring_up(made.url)
            execute(made.url, f"UPDATE alembic_version SET version_num = '{schema}'")

        checked = db("check", made.url)

        assert (checked.status, checked.stdout) == (78, "")
        assert checked.stderr.count("\n") == 1
        assert told[schema] in checked.stderr
        assert server.password not in checked.stderr
        with pytest.raises(DatabaseUnusable, match=told[schema].split("(")[0]):
            engine.open_registry(made.url)


@pytest.mark.parametrize("schema", ["0007_from_0006", "a1b2c3"])
def test_what_this_program_does_not_know_is_not_upgraded(
    database: Database, db: Db, schema: str
) -> None:
    execute(database.url, f"UPDATE alembic_version SET version_num = '{schema}'")

    done = db("upgrade", database.url)

    assert (done.status, done.stdout) == (78, "")
    assert execute(database.url, "SELECT * FROM alembic_version") == [(schema,)]


def test_tables_of_another_program_are_not_taken_over(server: Server, db: Db) -> None:
    """nova has tables of these names."""
    with server.database() as made:
        made.execute("CREATE TABLE services (id INTEGER, uuid VARCHAR(36))")

        done = db("upgrade", made.url)

        assert done.status == 78
        assert "its table services is another program's (it has no binary, " in done.stderr
        with connected(made.url) as connection:
            assert not inspect(connection).has_table("compute_nodes")


def test_check_says_that_all_is_well(database: Database, db: Db) -> None:
    done = db("check", database.url)

    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.endswith(f": the schema is {NEEDED}, and fits\n")


def test_check_tells_which_hosts_hold_back_a_migration(
    database: Database, db: Db, next_env: dict[str, str]
) -> None:
    """Also the program of the next release, before it has upgraded the tables."""
    registry = engine.open_registry(database.url)
    for host, version in (("new", 3), ("old", 2), ("older", None)):
        start = Start(host, host, version) if version else None  # None: as 0.1 registers
        registry.register_service(host, "b", topic="t", version="1", workers=1, start=start)
    told = (
        ": these hosts hold back a migration, by the service version in brackets; upgrade them, "
        "or delete the services that are gone: older (1), old (2)\n"
    )

    done = db("check", database.url)

    assert (done.status, done.stderr) == (0, "")
    fits, held = done.stdout.splitlines(keepends=True)
    assert fits.endswith(f": the schema is {NEEDED}, and fits\n")
    assert held.endswith(told)
    for env in (None, next_env):
        found = json.loads(db("check", database.url, "--json", env=env).stdout)
        assert (found["schema"], found["service_version"]) == (NEEDED, 3)
        assert found["held_back_by"] == [
            {"host": "older", "service_version": 1},
            {"host": "old", "service_version": 2},
        ]
    assert db("check", database.url, env=next_env).stdout.endswith(told)
    for host in ("old", "older"):
        registry.delete_service(host, "b")
    registry.close()
    assert "hold back" not in db("check", database.url).stdout


def test_a_line_names_some_hosts_and_json_all(database: Database, db: Db) -> None:
    registry = engine.open_registry(database.url)
    for number in range(MOST_HOSTS + 2):
        registry.register_service(f"h{number:02}", "b", topic="t", version="1", workers=1)
    registry.close()

    assert db("check", database.url).stdout.endswith("h19 (1) and 2 more (--json shows all)\n")
    assert len(json.loads(db("check", database.url, "--json").stdout)["held_back_by"]) == 22


def test_check_and_upgrade_know_what_a_start_does_for_sqlite(
    tmp_path: Path, db: Db, next_env: dict[str, str]
) -> None:
    path = tmp_path / "launcher.sqlite"
    url = f"sqlite:///{path}"

    assert db("check", url).stdout.endswith(f": the schema is none; a start brings {NEEDED}\n")
    assert not path.exists()
    assert db("upgrade", url).stdout.endswith(f": the schema is {NEEDED} now, and was none\n")
    told = f": the schema is {NEEDED}; a start brings {NEXT}\n"
    assert db("check", url, env=next_env).stdout.endswith(told)
    assert "rack" not in columns(url)
    assert db("upgrade", url).stdout.endswith(f": the schema is {NEEDED}, nothing to do\n")


def test_a_program_of_before_uses_a_schema_that_is_one_release_newer(
    database: Database, db: Db, next_env: dict[str, str]
) -> None:
    registry = engine.open_registry(database.url)
    assert db("upgrade", database.url, env=next_env).status == 0

    running, started = registry, engine.open_registry(database.url)

    for number, one in enumerate((running, started)):
        one.register_service(f"h{number}", "b", topic="t", version="1", workers=1)
        assert [service.host for service in one.list_services()] == [
            f"h{known}" for known in range(number + 1)
        ]
        one.close()
    assert db("check", database.url).status == 0
    assert db("upgrade", database.url).stdout.endswith(f"the schema is {NEXT}, nothing to do\n")


def test_history_says_which_schema_the_database_has(
    tmp_path: Path, db: Db, next_env: dict[str, str]
) -> None:
    url = f"sqlite:///{tmp_path}/launcher.sqlite"

    def states(env: dict[str, str] | None = None) -> list[tuple[str, str]]:
        done = db("history", url, "--json", env=env)
        assert done.status == 0, done.stderr
        return [(step["schema"], step["state"]) for step in json.loads(done.stdout)]

    assert states()[-1] == ("0001_from_0001", "pending")
    bring_up(url)
    assert states(next_env)[:2] == [(NEXT, "pending"), (NEEDED, "current")]
    assert db("upgrade", url, env=next_env).status == 0
    assert states(next_env)[:2] == [(NEXT, "current"), (NEEDED, "applied")]
    lines = db("history", url).stdout.splitlines()
    assert lines[1] == f"{NEXT}  current  (this program does not know it)"
    assert lines[2].startswith(f"{NEEDED}  applied  ")


def test_another_upgrade_is_waited_for_and_then_told(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema_upgrade, "LOCK_SECONDS", 1)
    with server.database() as made:
        other = engine.make_database(made.url)

        def meanwhile(held: Any, shown: str) -> None:
            with schema_upgrade._LOCKS[held.dialect.name](held):
                bring_up(made.url)

        with pytest.raises(DatabaseUnavailable, match="stays locked by another upgrade"):
            other.upgrade(meanwhile)
        other.close()
        assert bring_up(made.url) is None  # the lock ended with its holder
        with server.database() as neighbour:
            assert bring_up(neighbour.url) is None


def test_a_transaction_that_uses_a_table_is_waited_for_and_then_told(
    server: Server, next_env: dict[str, str]
) -> None:
    """MariaDB would wait for a day, and nobody could read the table meanwhile."""
    code = (
        "import sys; from launcher.cli.db_command import MOST_HOSTS, bring_up; "
        "from launcher.registry import schema_upgrade; schema_upgrade.TABLE_SECONDS = 1\n"
        "try: bring_up(sys.argv[1])\n"
        "except Exception as error: print(error)"
    )
    command = [sys.executable, "-P", "-c", code]
    with server.database() as made:
        bring_up(made.url)
        with connected(made.url) as connection:
            connection.execute(text("SELECT * FROM services"))
            done = run([*command, made.url], env={**os.environ, **next_env}, deadline=DEADLINE)

    assert "stays locked by another upgrade, or a long transaction" in done.stdout, done.stderr


def test_revisions_that_cannot_be_read_are_told(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of a program in a directory of root's, for instance."""
    monkeypatch.setattr(schema_upgrade, "MIGRATIONS", tmp_path / "hidden")
    with (
        server.database() as made,
        pytest.raises(DatabaseUnusable, match=f"uid [0-9]+ may not read {tmp_path}/hidden, which"),
    ):
        bring_up(made.url)


def statements(server: Server, name: str) -> list[str]:
    """Those by which the manual creates a database and its user, here with another name."""
    page = (CHECKOUT / "etc/man/compute-launcher.7").read_text().replace("\\(aq", "'")
    kind = "PostgreSQL" if server.kind == "postgresql" else "MariaDB"
    found = re.search(rf"^{kind}:\n\.PP\n\.in \+4n\n\.EX\n(.*?)^\.EE$", page, re.M | re.S)
    assert found
    return [line.replace("launcher", name).rstrip(";") for line in found[1].splitlines()]


@pytest.fixture
def manuals(server: Server) -> Iterator[str]:
    """The URL of a database that the manual's statements have made."""
    name = f"manuals_{secrets.token_hex(4)}"
    for statement in statements(server, name):
        server.execute(statement)
    try:
        yield server.url(name, user=name, password="password")
    finally:
        server.execute(f"DROP DATABASE {name}", f"DROP USER {name}")


def test_what_the_manual_creates_will_do(manuals: str) -> None:
    bring_up(manuals)

    with closing(engine.open_registry(manuals)) as registry:
        assert registry.register_service("h", "b", topic="t", version="1", workers=1).id == 1


def test_a_service_needs_no_more_rights_than_the_manual_says(
    server: Server, manuals: str, db: Db
) -> None:
    name = make_url(manuals).database
    few = f"few_{name}"
    user, tables = few, "ALL TABLES IN SCHEMA public"
    if server.kind == "mariadb":
        user, tables = f"{few}@'%'", f"{name}.*"
    password = "PASSWORD" if server.kind == "postgresql" else "IDENTIFIED BY"
    url = server.url(str(name), user=few, password="few")
    server.execute(f"CREATE USER {user} {password} 'few'")
    try:
        server.execute(f"GRANT SELECT ON {tables} TO {user}", database=name)
        refused = db("upgrade", url)
        assert (refused.status, refused.stderr.count("\n")) == (78, 1)
        assert "denied" in refused.stderr
        bring_up(manuals)
        server.execute(
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {user}", database=name
        )
        if server.kind == "postgresql":
            grant = f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {user}"
            server.execute(grant, database=name)
        with closing(engine.open_registry(url)) as registry:
            registry.register_service("h", "b", topic="t", version="1", workers=1)
            registry.delete_service("h", "b")
    finally:
        owned = [f"DROP OWNED BY {few}"] if server.kind == "postgresql" else []
        server.execute(*owned, f"DROP USER {user}", database=name)

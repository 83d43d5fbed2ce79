"""A service serves at each spelling of its database; a wrong one gets the same words in all
commands."""

from pathlib import Path

import pytest

from launcher.registry.engine import open_registry
from tests.functional.service.conftest import CHECKOUT, Start
from tests.support.databases import Database
from tests.support.processes import Launcher
from tests.support.waiting import wait_until

DEADLINE = 30.0  # seconds

SPELLINGS = {
    "postgresql": ("postgresql://", "postgresql+psycopg://"),
    "mariadb": ("mysql://", "mysql+pymysql://", "mariadb://", "mariadb+pymysql://"),
    "sqlite": ("sqlite://", "sqlite+pysqlite://"),
}


def test_each_spelling_opens_it(database: Database) -> None:
    place = database.url.partition("://")[2]
    for spelling in SPELLINGS[database.server.kind if database.server else "sqlite"]:
        registry = open_registry(spelling + place)
        registry.register_service(spelling, "binary", topic="t", version="1", workers=1)
        assert registry.get_service(spelling, "binary")
        registry.close()


def listed(service: Launcher) -> str:
    shown = service.run_command("services", "list")
    assert shown.status == 0
    return shown.stdout


def test_a_service_serves_on_it(start: Start, database: Database) -> None:
    service = start("Working", "--workers=2", config={"database": {"connection": database.url}})
    service.wait_ready()
    wait_until(lambda: " up  " in listed(service), DEADLINE, "the lead has reported all workers")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgres://u:hush@h/n", "cannot be used: the name of this database is postgresql"),
        ("mysql://u:hush@h/n?ssl=true", "pymysql refuses an option of the URL (ssl): Attribute"),
        ("mysql://u:hush@h/n?ssl_ca=/no/such", "pymysql refuses an option of the URL (ssl_ca)"),
        ("postgresql://u:hush@h/n", "pip install 'compute-launcher[postgresql]'"),
        ("postgresql://u:hush@h:port/n", "this is no database URL"),
    ],
)
def test_a_wrong_one_gets_the_same_words_in_all_commands(
    start: Start, tmp_path: Path, url: str, words: str
) -> None:
    """Where psycopg is missing."""
    (tmp_path / "psycopg.py").write_text("raise ImportError('missing')")
    environ = {"PYTHONPATH": f"{tmp_path}:{CHECKOUT}"}
    service = start("Traced", config={"database": {"connection": url}}, env=environ)
    assert service.wait() == 78
    *_, last = service.output.splitlines()
    assert last.startswith("compute-launcher: error: database ")
    assert words in last
    for command in (("config", "check"), ("services", "list")):
        answer = service.run_command(*command)
        assert (answer.status, answer.stderr) == (78, f"{last}\n")
    assert "hush" not in service.output
    assert "Traceback" not in service.output

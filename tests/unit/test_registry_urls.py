"""URLs as operators write them: with the drivers of our extras, and options that they accept."""

import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import DatabaseUnusable
from launcher.registry.drivers import connect_args
from launcher.registry.engine import make_database
from launcher.registry.urls import parse

DRIVERS = {
    "postgresql://u@h/n": "psycopg",
    "postgresql+psycopg://u@h/n": "psycopg",
    "mysql://u@h/n": "pymysql",
    "mysql+pymysql://u@h/n": "pymysql",
    "mariadb://u@h/n": "pymysql",
    "mariadb+pymysql://u@h/n": "pymysql",
}


@pytest.mark.parametrize("url", DRIVERS)
def test_a_url_that_names_no_driver_means_that_of_our_extra(url: str) -> None:
    made: Any = make_database(url)
    assert made._engine.dialect.driver == DRIVERS[url] == parse(url).get_driver_name()


REFUSED = {
    "postgres://u:s3cret@h/n": "write postgresql:// for postgres://",
    "postgres+psycopg://u:s3cret@h/n": "write postgresql:// for postgres://",
    "mysql://u:s3cret@h/n?ssl=true": "pymysql refuses an option of the URL (ssl): AttributeError",
    "mysql://u:s3cret@h/n?ssl_ca=/no/such": "pymysql refuses an option of the URL (ssl_ca): File",
    "mysql://u:s3cret@h/n?zzz=1": "refuses an option of the URL (zzz): TypeError",
    "mysql://u:s3cret@h/n?read_timeout=soon": "option read_timeout is 'soon', which is no whole",
    "postgresql://u:s3cret@h/n?zzz=1": "psycopg refuses an option of the URL (zzz): Programming",
    "postgresql://u:s3cret@h/n?prepare_threshold=few": "prepare_threshold is 'few', which is no",
}


@pytest.mark.parametrize("url", REFUSED)
def test_what_no_server_would_mend_is_refused_before_one_is_asked(url: str) -> None:
    with pytest.raises(DatabaseUnusable) as caught:
        make_database(url)
    sentence = str(caught.value)
    assert REFUSED[url] in sentence
    assert "s3cret" not in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("postgresql://u@h/n", "its driver psycopg cannot be imported (ImportError: broken"),
        ("postgresql://u@h/n", "; pip install 'compute-launcher[postgresql]'"),
        ("mariadb://u@h/n", "; pip install 'compute-launcher[mysql]'"),
        ("mysql+pymysql://u@h/n", "; pip install 'compute-launcher[mysql]'"),
        ("mysql+mysqldb://u@h/n", "; install it, or write mysql:// and pip install 'compute-"),
    ],
)
def test_a_driver_that_is_missing_is_named_with_the_extra_to_install(
    url: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("psycopg", "pymysql", "MySQLdb"):
        (tmp_path / f"{module}.py").write_text("raise ImportError('broken\\nor missing')")
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DatabaseUnusable) as caught:
        make_database(url)
    assert extra in str(caught.value)


def test_an_option_of_the_url_outranks_ours() -> None:
    def args(url: str) -> dict[str, Any]:
        return connect_args(parse(url), limit=4.5)

    wait = "SET SESSION innodb_lock_wait_timeout = LEAST(@@innodb_lock_wait_timeout, 8)"
    assert args("mysql://h/n?read_timeout=9") == {
        "connect_timeout": 5,
        "write_timeout": 5,
        "init_command": wait,
    }
    assert args("postgresql://h/n") == {"connect_timeout": 5, "prepare_threshold": None}
    assert args("postgresql://h/n?prepare_threshold=3")["prepare_threshold"] == 3
    assert args("postgresql://h/n?prepare_threshold=None")["prepare_threshold"] is None
    assert args("postgresql+psycopg2://h/n") == {}

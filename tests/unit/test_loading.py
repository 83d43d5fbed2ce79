"""Managers by name, and what is said when there is none."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from oslo_config import cfg

from launcher import config
from launcher.compute.manager import ComputeManager
from launcher.errors import ConfigError, DatabaseUnusable, ManagerNotFound
from launcher.serve import loading
from launcher.serve.manager import Manager

BINARY = "compute-launcher"
MODULE = """
from launcher.serve.manager import Manager
class Mine(Manager):
    class Inner(Manager): ...
class Foreign: ...
number = 7
def make(): ...
"""


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory on sys.path; what was imported from it is forgotten afterwards."""
    (tmp_path / "their").mkdir()
    (tmp_path / "their" / "__init__.py").touch()
    (tmp_path / "their" / "manager.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("their", "their.manager", "their.broken"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path / "their"


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    found: list[EntryPoint] = []
    monkeypatch.setattr(loading, "entry_points", lambda group: found)
    return found


@pytest.mark.parametrize(
    ("binary", "topic"),
    [
        ("compute-launcher", "compute"),
        ("conductor-launcher", "conductor"),
        ("odd", "odd"),
        ("a-launcher-b", "a-launcher-b"),
    ],
)
def test_the_binary_names_the_topic(binary: str, topic: str) -> None:
    assert loading.default_topic(binary) == topic


def test_the_binary_names_the_manager_too() -> None:
    assert loading.manager_class(None, BINARY) is ComputeManager
    assert loading.manager_class("", BINARY) is ComputeManager


def test_an_entry_point_of_a_third_party_is_found(
    third_party: Path, entry_points: list[EntryPoint]
) -> None:
    entry_points.append(EntryPoint("theirs", "their.manager:Mine", loading.GROUP))

    assert loading.manager_class("theirs", BINARY).__name__ == "Mine"
    assert loading.manager_class(None, "theirs-launcher").__name__ == "Mine"


@pytest.mark.parametrize(
    ("path", "name"), [("their.manager:Mine", "Mine"), ("their.manager:Mine.Inner", "Inner")]
)
def test_a_class_is_found_by_its_path(third_party: Path, path: str, name: str) -> None:
    found = loading.manager_class(path, BINARY)

    assert issubclass(found, Manager)
    assert found.__name__ == name


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("nobody", ["'nobody'", "which has compute", "give package.module:Class"]),
        ("nope.module:Class", ["No module named 'nope'", "tried import nope.module:Class"]),
        ("their.nope:Class", ["No module named 'their.nope'", "tried import their.nope:Class"]),
        ("their.manager:Nope", ["no attribute 'Nope'", "tried import their.manager:Nope"]),
        ("their.manager:Foreign", ["no class derived from", "Foreign"]),
        ("their.manager:number", ["no class derived from", "7"]),
        ("their.manager:make", ["no class derived from", "make"]),
        ("their.broken:Mine", ["ZeroDivisionError: division by zero", "import their.broken:Mine"]),
        ("their.exits:Mine", ["its import exits the process", "import their.exits:Mine"]),
        ("their.syntax:Mine", ["SyntaxError"]),
        *(
            (name, ["not of the form package.module:Class"])
            for name in (":", ":Mine", "their.manager:", "their manager:Mine", "a:b:c", ".x:Y")
        ),
    ],
)
def test_why_there_is_none_is_one_sentence(third_party: Path, name: str, parts: list[str]) -> None:
    (third_party / "broken.py").write_text("1 / 0")
    (third_party / "exits.py").write_text("import sys; sys.exit('bye')")
    (third_party / "syntax.py").write_text("def")

    with pytest.raises(ManagerNotFound) as caught:
        loading.manager_class(name, BINARY)

    sentence = str(caught.value)
    assert sentence.startswith(f"no manager {name!r}: ")
    assert [part for part in [*parts, "; tried "] if part not in sentence] == []
    assert len(sentence.splitlines()) == 1
    assert caught.value.exit_status == 78


def test_it_says_when_no_manager_is_installed_at_all(entry_points: list[EntryPoint]) -> None:
    with pytest.raises(ManagerNotFound, match="which has none"):
        loading.manager_class(None, BINARY)


def configured(**values: str) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    config.register(conf)
    conf([], project=BINARY, default_config_files=[], default_config_dirs=[])
    conf.set_override("connection", values.get("connection", "sqlite://"), group="database")
    conf.set_override("transport_url", values.get("transport_url", "unix:///x"))
    return conf


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nope://u:<s>@h/db", "nope://u:***@h/db"),
        ("postgresql+nope://u:<s>@h/db", "postgresql+nope://u:***@h/db"),
        ("mysql://u:<s>@h:x/db", "h:x"),
        ("mysql://u:<s>", "u:***"),
        ("://", "://"),
        ("sqlite", "sqlite"),
    ],
)
def test_a_database_that_cannot_be_is_refused_without_its_password(url: str, shown: str) -> None:
    with pytest.raises(DatabaseUnusable) as caught:
        loading._preload_database(url)

    assert shown in str(caught.value)
    assert "<s>" not in str(caught.value)
    assert caught.value.exit_status == 78


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nope://u:<s>@h/", "nope://u:***@h/"),
        ("rabbit://u:<s>", "rabbit://u:***"),
        ("rabbit://u:<s>@h:port/", "rabbit://u:***@h"),
        ("rabbit://u:<s#s>@h:1/", "rabbit://u:***@h:1"),
    ],
)
def test_a_bus_that_cannot_be_is_refused_without_its_password(url: str, shown: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loading._preload_bus(configured(transport_url=url))

    assert f"transport_url = {shown}" in str(caught.value)
    assert "give rabbit://user:password@host:port/virtual_host" in str(caught.value)
    assert "<" not in str(caught.value)
    assert ">" not in str(caught.value)

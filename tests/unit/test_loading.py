"""Managers by name, and what is said when there is none."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from oslo_config import cfg

from launcher.compute.compute_manager import ComputeManager
from launcher.config import loader
from launcher.errors import ConfigError, DatabaseUnusable, ManagerNotFound, ManagerUnfit
from launcher.serve import loading
from launcher.serve.manager import Manager

BINARY = "compute-launcher"
HEAD = "from launcher.serve.manager import Manager, periodic_task"
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


@pytest.mark.parametrize(
    ("module", "text", "place"),
    [
        ("broken", "\n\n1 / 0", "broken.py:3)"),
        ("deep", "from their.broken import x", "broken.py:3)"),
        ("exits", "\nimport sys; sys.exit('bye')", "exits.py:2)"),
        ("cancelled", "import asyncio\nraise asyncio.CancelledError", "cancelled.py:2)"),
        ("syntax", "\ndef", "syntax.py, line 2)"),
        ("unmarked", f"{HEAD}\nclass Mine(Manager):\n @periodic_task\n def x(self): ...", ":3)"),
    ],
)
def test_an_import_that_fails_names_the_line(
    third_party: Path, monkeypatch: pytest.MonkeyPatch, module: str, text: str, place: str
) -> None:
    (third_party / "broken.py").write_text("\n\n1 / 0")
    (third_party / f"{module}.py").write_text(text)
    monkeypatch.delitem(sys.modules, f"their.{module}", raising=False)

    with pytest.raises(ManagerNotFound) as caught:
        loading.manager_class(f"their.{module}:Mine", BINARY)

    assert place in str(caught.value)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("1 / 0", "raises ZeroDivisionError: division by zero ("),
        ("raise asyncio.CancelledError", "raises CancelledError ("),
        ("sys.exit('bye')", "exits the process ("),
        (
            "return (one for one in '')",
            "raises TypeError: preload has not run: it",
        ),
    ],
)
def test_a_preload_that_raises_is_one_sentence_with_its_line(
    third_party: Path, monkeypatch: pytest.MonkeyPatch, code: str, fault: str
) -> None:
    lines = ("import asyncio, sys", HEAD, "class Mine(Manager):", " @classmethod")
    text = "\n".join([*lines, " def preload(cls, state_path):", f"  {code}"])
    (third_party / "eager.py").write_text(text)
    monkeypatch.delitem(sys.modules, "their.eager", raising=False)
    found = loading.manager_class("their.eager:Mine", BINARY)

    with pytest.raises(ManagerUnfit) as caught:
        loading.preload_manager(found, "/nowhere")

    sentence = str(caught.value)
    assert f"its preload {fault}" in sentence
    assert "has not run" in sentence or sentence.endswith(f"eager.py:{len(lines) + 2})")
    assert caught.value.exit_status == 78


def test_a_preload_that_knows_its_sentence_is_let_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def preload(state_path: str) -> None:
        raise ConfigError(problem="there is no hypervisor")

    monkeypatch.setattr(Manager, "preload", preload)
    with pytest.raises(ConfigError, match=r"^there is no hypervisor$"):
        loading.preload_manager(Manager, "/nowhere")


def test_a_module_that_is_not_there_names_no_line(third_party: Path) -> None:
    with pytest.raises(ManagerNotFound, match=r"No module named 'their\.nope'; tried"):
        loading.manager_class("their.nope:Class", BINARY)


def test_a_class_that_cannot_be_a_manager_is_refused(
    third_party: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{HEAD}\nclass Mine(Manager):\n async def init_host(self, service): ..."
    (third_party / "later.py").write_text(text)
    monkeypatch.delitem(sys.modules, "their.later", raising=False)

    with pytest.raises(
        ManagerUnfit, match=r"manager 'their.later:Mine' .*Mine.init_host"
    ) as caught:
        loading.manager_class("their.later:Mine", BINARY)

    assert caught.value.exit_status == 78


def test_it_says_when_no_manager_is_installed_at_all(entry_points: list[EntryPoint]) -> None:
    with pytest.raises(ManagerNotFound, match="which has none"):
        loading.manager_class(None, BINARY)


def configured(**values: str) -> cfg.ConfigOpts:
    conf = cfg.ConfigOpts()
    loader.register(conf)
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


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("def f(:\n", ["  File ", "    def f(:", "SyntaxError: "]),
        ("1 / 0\n", ["Traceback (most recent call last):", "  File ", "ZeroDivisionError: "]),
    ],
)
def test_a_traceback_for_its_author_has_his_own_lines_alone(
    third_party: Path, source: str, shown: list[str]
) -> None:
    (third_party / "broken.py").write_text(source)
    with pytest.raises(ManagerNotFound) as caught:
        loading.manager_class("their.broken:Mine", BINARY)
    assert caught.value.__cause__ is not None

    lines = loading.traceback_of(caught.value.__cause__).splitlines()

    for line in shown:
        assert any(each.startswith(line) for each in lines), lines
    files = [line for line in lines if line.startswith("  File ")]
    assert [line for line in files if str(third_party) not in line] == []

"""Imports in the master that a program does in its main()."""

import sys
import threading
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from launcher.program import early_import
from launcher.program.finding import Program
from launcher.program.late_options import LateOptions
from launcher.program.remembered import NAME, RememberedList

MODULES = {
    "early_good": "import early_deep",
    "early_deep": "",
    "early_reads": "from oslo_config import cfg\nc = cfg.ConfigOpts()\n"
    "c.register_opt(cfg.StrOpt('x'))\nc.x",
    "early_asks": "import early_reads",
    "early_starts": "import threading\nthreading.Thread(target=print).start()",
    "early_exits": "raise SystemExit(3)",
}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


def test_what_reads_an_option_or_starts_a_thread_is_skipped() -> None:
    assert early_import.import_all([*MODULES, "early_missing"], LateOptions()) == 2
    assert {name for name in MODULES if name in sys.modules} == {"early_good", "early_deep"}


def test_they_are_tried_in_a_child_first() -> None:
    found = early_import.try_all([*MODULES, "early_missing", "os"], LateOptions(), lambda: False)
    assert found == ["early_good", "early_deep", "os"]
    assert not [name for name in MODULES if name in sys.modules]


def test_a_stop_ends_the_trial(tmp_path: Path) -> None:
    (tmp_path / "early_hangs.py").write_text("import time\ntime.sleep(600)")
    asked = threading.Event()

    def stopping() -> bool:
        asked.set()
        return len(sys.modules) > 0

    assert early_import.try_all(["early_hangs"], LateOptions(), stopping) == []
    assert asked.is_set()


def test_a_child_that_crashes_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "early_crashes.py").write_text("import os\nos._exit(9)")
    assert early_import.try_all(["early_crashes"], LateOptions(), lambda: False) == []


def program(value: str) -> Program:
    return Program("x", EntryPoint("x", value, "console_scripts"))


def test_a_list_is_for_one_program(tmp_path: Path) -> None:
    one, other = (RememberedList(str(tmp_path), program(value)) for value in ("a:b", "a:c"))
    assert one.kept() == one.left() == []
    one.keep(["os", "__main__", "a b", "x.y"])
    assert one.kept() == ["os", "x.y"]
    assert other.kept() == []
    one.leave()
    assert "sys" in one.left()


@pytest.mark.parametrize(
    ("name", "fits"),
    [
        ("a", True),
        ("a.b_1", True),
        ("__main__", False),
        ("a-b", False),
        ("a..b", False),
        ("", False),
    ],
)
def test_which_names_are_remembered(name: str, fits: bool) -> None:
    assert bool(NAME.fullmatch(name)) is fits

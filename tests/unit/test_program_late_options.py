"""Options that a library registers by what the configuration says: after it has been read."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg

from launcher.program import early_import, late_options
from launcher.program.late_options import LateOptions

LIBRARY = """
from oslo_config import cfg

def register(conf, name):
    conf.register_opt(cfg.StrOpt(name))
    conf.register_opt(cfg.StrOpt(conf[name] or "unset"))
"""
CALLER = """
import late_library
from oslo_config import cfg
CONF = cfg.ConfigOpts()
late_library.register(CONF, "section")
"""
MODULES = {"late_library": LIBRARY, "late_caller": CALLER}


@pytest.fixture(autouse=True)
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(late_options, "FUNCTIONS", (("late_library", "register"),))
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "late.conf"
    path.write_text("[DEFAULT]\nsection = chosen\n")
    return path


def imported(late: LateOptions) -> cfg.ConfigOpts:
    """The configuration of a module that was imported early."""
    assert early_import.import_all(MODULES, late) == len(MODULES)
    conf = sys.modules["late_caller"].CONF
    assert isinstance(conf, cfg.ConfigOpts)
    return conf


def test_a_module_that_registers_by_an_option_is_imported_early(file: Path) -> None:
    late = LateOptions()
    conf = imported(late)
    assert "section" not in conf
    with late.registered():
        conf(["--config-file", str(file)])
    assert "chosen" in conf


def test_a_configuration_that_was_read_before_has_the_options_at_once(file: Path) -> None:
    late = LateOptions()
    conf = imported(late)
    conf(["--config-file", str(file)])
    assert "chosen" not in conf
    with late.registered():
        assert "chosen" in conf


def test_the_trial_keeps_such_a_module() -> None:
    names = list(MODULES)
    assert early_import.try_all(names, LateOptions(), lambda: False) == names


def test_afterwards_library_and_configuration_are_as_before(file: Path) -> None:
    late, read = LateOptions(), cfg.ConfigOpts.__call__
    conf = imported(late)
    with late.registered():
        pass
    assert cfg.ConfigOpts.__call__ is read
    conf(["--config-file", str(file)])
    sys.modules["late_library"].register(conf, "section")
    assert "chosen" in conf

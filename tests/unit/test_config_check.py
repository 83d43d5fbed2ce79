"""`config check` reports what a start would, without starting anything."""

import argparse
from pathlib import Path

import pytest
from oslo_config import cfg

from launcher.cli import config_command
from launcher.config import loader
from launcher.directories import paths
from launcher.errors import DirectoryUnusable, ManagerNotFound, OptionError
from launcher.serve import loading

ARGS = argparse.Namespace()


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cfg.ConfigOpts:
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(loading, "preload", lambda conf: None)
    file = tmp_path / "launcher.conf"
    file.write_text("[DEFAULT]\nruntime_path = /tmp\n")
    conf = cfg.ConfigOpts()
    loader.load(conf, "compute-launcher", [f"--config-file={file}"])
    conf.set_override("runtime_path", str(tmp_path / "run"))
    return conf


def test_a_configuration_that_serves_is_valid(
    conf: cfg.ConfigOpts,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(paths, "check_socket_room", lambda option, path: None)
    file = str(tmp_path / "launcher.conf")

    assert config_command.check(conf, argparse.Namespace(config_file=[file])) == 0

    assert capsys.readouterr().out == f"configuration is valid ({file})\n"


def test_the_files_in_force_are_named_once(
    conf: cfg.ConfigOpts,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(paths, "check_socket_room", lambda option, path: None)
    file = tmp_path / "compute-launcher.conf.d" / "a.conf"
    file.parent.mkdir()
    file.touch()
    config_command.check(conf, ARGS)
    assert capsys.readouterr().out == f"configuration is valid ({file})\n"


def test_a_manager_that_is_not_there_is_found(conf: cfg.ConfigOpts) -> None:
    conf.set_override("manager", "nobody")

    with pytest.raises(ManagerNotFound):
        config_command.check(conf, ARGS)


def test_a_directory_that_cannot_be_used_is_found(conf: cfg.ConfigOpts) -> None:
    conf.set_override("state_path", "/proc/self/nope")

    with pytest.raises(DirectoryUnusable, match="state_path"):
        config_command.check(conf, ARGS)


def test_a_runtime_path_too_long_for_sockets_is_found(
    conf: cfg.ConfigOpts, tmp_path: Path
) -> None:
    conf.set_override("runtime_path", str(tmp_path / ("x" * 90)))

    with pytest.raises(OptionError, match="leaves no room for sockets"):
        config_command.check(conf, ARGS)

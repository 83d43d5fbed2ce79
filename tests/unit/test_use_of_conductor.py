"""[database] use_conductor: what contradicts it is refused before anything starts."""

import argparse
from pathlib import Path

import pytest
from oslo_config import cfg

from launcher.cli import registry_commands
from launcher.compute.compute_manager import ComputeManager
from launcher.conductor.conductor_manager import ConductorManager
from launcher.config import loader
from launcher.errors import ExitStatus, LauncherError, OptionError
from launcher.serve import loading
from launcher.serve.manager import Manager

BUS = "rabbit://u:sesame@broker:5672/"


def load(tmp_path: Path, main: str, database: str) -> cfg.ConfigOpts:
    file = tmp_path / "launcher.conf"
    file.write_text(f"[DEFAULT]\nhost = node-1\n{main}\n[database]\n{database}\n")
    conf = cfg.ConfigOpts()
    loader.load(conf, "compute-launcher", [f"--config-file={file}"])
    return conf


def test_a_bus_and_no_database_is_all_it_needs(tmp_path: Path) -> None:
    conf = load(tmp_path, f"transport_url = {BUS}", "use_conductor = true")
    loading.check_use_of_conductor(conf, ComputeManager)


@pytest.mark.parametrize(
    ("main", "database", "words"),
    [
        ("", "", "option transport_url: it is not set, and the embedded bus of this service"),
        (
            f"transport_url = {BUS}",
            "connection = postgresql://u:open@db/launcher",
            "and so is use_conductor; a host has the one or the other, unset one",
        ),
    ],
)
def test_what_contradicts_it_is_one_sentence(
    tmp_path: Path, main: str, database: str, words: str
) -> None:
    with pytest.raises(OptionError) as raised:
        load(tmp_path, main, f"use_conductor = true\n{database}")
    assert words in str(raised.value)
    assert raised.value.exit_status == ExitStatus.CONFIG
    assert not {"sesame", "open@"} & set(str(raised.value).split())


def test_a_password_of_a_database_in_a_credential_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "database_connection").write_text("postgresql://u:open@db/launcher")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(OptionError, match=r"\[database\] connection.*so is use_conductor"):
        load(tmp_path, f"transport_url = {BUS}", "use_conductor = true")


def test_without_it_neither_matters(tmp_path: Path) -> None:
    assert load(tmp_path, "", "use_conductor = false").database.use_conductor is False


def test_a_conductor_cannot_use_one(tmp_path: Path) -> None:
    conf = load(tmp_path, f"transport_url = {BUS}", "use_conductor = true")
    with pytest.raises(OptionError, match=r"use_conductor: ConductorManager serves the database"):
        loading.check_use_of_conductor(conf, ConductorManager)


def test_it_is_the_manager_of_the_script_and_no_other_needs_a_database() -> None:
    assert loading.manager_class(None, "conductor-launcher") is ConductorManager
    assert Manager.needs_database is False


@pytest.mark.parametrize("verb", ["upgrade", "check", "history"])
def test_db_commands_are_for_the_host_that_has_one(
    tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf = load(tmp_path, f"transport_url = {BUS}", "use_conductor = true")
    monkeypatch.setattr("launcher.cli.registry_commands.cfg.CONF", conf)
    args = argparse.Namespace(command=f"db {verb}")
    with pytest.raises(LauncherError, match="this host has no database; run the command where"):
        registry_commands.run(args, lambda: None)

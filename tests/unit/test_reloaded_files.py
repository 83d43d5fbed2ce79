"""Which files a reload reads, and which changes it refuses."""

import os
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from oslo_config import cfg

from launcher.board.board import Board
from launcher.board.counters import Counters
from launcher.config import loader
from launcher.errors import ConfigError, OptionError
from launcher.program.application import ProgramApplication
from launcher.program.finding import Program
from launcher.program.importing import Imported
from launcher.program.late_options import LateOptions
from launcher.program.recording import Recording
from launcher.serve import loading
from launcher.serve.manager_application import ManagerApplication
from launcher.supervise.operations.in_force import Configuration

BINARY = "compute-launcher"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The usual place of configuration files."""
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(loading, "preload", lambda conf: None)
    directory = tmp_path / f".{BINARY}"
    directory.mkdir()
    return directory


def start(*args: str) -> tuple[cfg.ConfigOpts, Configuration]:
    conf = cfg.ConfigOpts()
    loader.load(conf, BINARY, args)
    return conf, Configuration(conf, BINARY, ManagerApplication(conf, BINARY), args)


def of_a_program() -> tuple[ProgramApplication, Configuration]:
    conf = cfg.ConfigOpts()
    loader.load(conf, BINARY)
    program = Program("x:main", EntryPoint("x:main", "x:main", "console_scripts"))
    imported = Imported(program, ("x",), lambda: None, Recording("x"), LateOptions())
    application = ProgramApplication(conf, imported)
    return application, Configuration(conf, BINARY, application)


def test_the_number_of_workers_is_the_programs_if_none_is_given(home: Path) -> None:
    _, configuration = of_a_program()
    assert configuration.workers is None
    for text, workers in (("[DEFAULT]\nworkers = 3\n", 3), ("", None)):
        (home / f"{BINARY}.conf").write_text(text)
        configuration.check()
        configuration.take()
        assert configuration.workers == workers


def test_a_reload_takes_how_a_program_is_proven(home: Path) -> None:
    application, configuration = of_a_program()
    board = Board(2)

    def needs_server() -> bool:
        application.make_service(board, board.slot(0), Counters(2).of(0), anew=True)
        return not application._servers.enough()

    assert needs_server()
    (home / f"{BINARY}.conf").write_text("[health]\nproof = started\n")
    assert configuration.check()
    configuration.take()
    assert not needs_server()


def test_a_file_that_appears_where_files_are_found_is_taken(home: Path) -> None:
    conf, configuration = start()
    default = configuration.workers

    (home / f"{BINARY}.conf").write_text("[DEFAULT]\nworkers = 3\nreport_interval = 7\n")
    (home / f"{BINARY}.conf.d").mkdir()
    (home / f"{BINARY}.conf.d" / "more.conf").write_text("[health]\nprobe_interval = 3\n")

    assert configuration.check()
    configuration.take()
    assert (conf.workers, conf.report_interval, conf.health.probe_interval) == (3, 7, 3)

    (home / f"{BINARY}.conf").unlink()
    assert configuration.check()
    configuration.take()
    assert (conf.workers, conf.report_interval, conf.health.probe_interval) == (default, 10, 3)


def test_one_that_changes_at_once_is_found_too(home: Path) -> None:
    conf, configuration = start()
    (home / f"{BINARY}.conf").write_text("[supervision]\nrestart_limit = 7\n")

    assert not configuration.check()
    configuration.mutate()

    assert conf.supervision.restart_limit == 7
    assert configuration.check()  # nothing has changed since


def test_what_is_found_is_not_read_where_a_file_is_named(home: Path) -> None:
    named = home / "named.conf"
    named.write_text("")
    conf, configuration = start(f"--config-file={named}")
    default = conf.workers
    (home / f"{BINARY}.conf").write_text(f"[DEFAULT]\nworkers = {default + 1}\n")

    assert configuration.check()
    configuration.take()

    assert configuration.workers == default


def test_what_changes_between_check_and_take_is_not_taken(home: Path) -> None:
    """The changed file was not checked."""
    file = home / f"{BINARY}.conf"
    file.write_text("[DEFAULT]\nreport_interval = 7\n")
    conf, configuration = start()
    file.write_text("[DEFAULT]\nreport_interval = 8\n")
    configuration.check()
    file.write_text("[DEFAULT]\nreport_interval = 9\n")

    with pytest.raises(ConfigError, match=r"changed again.*reload once more"):
        configuration.take()

    assert conf.report_interval == 7
    configuration.check()
    configuration.take()
    assert conf.report_interval == 9


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("host = another", "host"),
        ("transport_url = unix:///another", "transport_url"),
        ("log_file = /var/log/launcher.writing.log", "log_file"),
        ("use_journal = true", "use_journal"),
        ("[metrics]\nlisten = 127.0.0.1:9464", r"\[metrics\] listen"),
        (
            "[supervision]\nimmortal_objects = false",
            r"\[supervision\] immortal_objects",
        ),
    ],
)
def test_what_cannot_change_while_the_service_runs_is_refused(
    home: Path, text: str, option: str
) -> None:
    _, configuration = start()
    (home / f"{BINARY}.conf").write_text(f"[DEFAULT]\n{text}\n")

    with pytest.raises(OptionError, match=f"option {option}: .*restart the service"):
        configuration.check()


def test_a_reload_with_a_source_is_refused(home: Path) -> None:
    """oslo.config would read the files only, and the old values of the source stay."""
    conf, configuration = start()
    conf.set_override("config_source", ["remote"])

    with pytest.raises(OptionError, match=r"option config_source: .*restart the service"):
        configuration.check()


def test_another_user_and_password_of_the_same_bus_is_taken(home: Path) -> None:
    file = home / f"{BINARY}.conf"
    file.write_text("[DEFAULT]\ntransport_url = rabbit://u:old@one,u:old@two/v\n")
    conf, configuration = start()

    file.write_text("[DEFAULT]\ntransport_url = rabbit://w:half%2Frest@one,w:new@two/v\n")
    assert configuration.check()
    configuration.take()
    assert conf.transport_url == "rabbit://w:half%2Frest@one,w:new@two/v"

    for other in ("rabbit://u:old@one/v", "rabbit://u:old@one,u:old@two/w"):
        file.write_text(f"[DEFAULT]\ntransport_url = {other}\n")
        with pytest.raises(OptionError, match=r"transport_url: .*restart the service"):
            configuration.check()


def test_a_bus_that_cannot_be_is_no_change(home: Path) -> None:
    _, configuration = start()
    (home / f"{BINARY}.conf").write_text("[DEFAULT]\ntransport_url = rabbit://u:s3cr@one:x/\n")
    with pytest.raises(ConfigError, match=r"cannot be used: its port is no number") as caught:
        configuration.check()
    assert "s3cr" not in str(caught.value)


def test_credentials_are_part_of_what_is_compared(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", os.fspath(home))
    credential = home / "database_connection"
    credential.write_text("sqlite:////one")
    conf, configuration = start()
    credential.write_text("sqlite:////other")

    assert configuration.check()
    configuration.take()

    assert conf.database.connection == "sqlite:////other"


def test_a_file_that_does_not_parse_is_named(home: Path) -> None:
    _, configuration = start()
    file = home / f"{BINARY}.conf"
    file.write_text("workers = 3\n")

    with pytest.raises(ConfigError, match=rf"^Failed to parse .*{file}"):
        configuration.check()


def test_a_file_that_cannot_be_read_is_named(home: Path) -> None:
    _, configuration = start()
    file = home / f"{BINARY}.conf"
    file.write_bytes(b"\xff")

    with pytest.raises(ConfigError, match=rf"configuration file {file} cannot be read"):
        configuration.check()


def test_a_file_may_be_named_below_the_home_directory(home: Path) -> None:
    (home / "named.conf").write_text("[DEFAULT]\nreport_interval = 7\n")

    conf, configuration = start(f"--config-file=~/.{BINARY}/named.conf")

    assert conf.report_interval == 7
    assert configuration.check()

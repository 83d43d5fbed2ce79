"""The configuration: the order of its sources, and one sentence for each error."""

import argparse
import itertools
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oslo_config import cfg

from launcher.cli import config_command
from launcher.config import loader, options
from launcher.directories import locations
from launcher.errors import ConfigError, ConfigSourceUnavailable, OptionError, UsageError

BINARY = "compute-launcher"
Load = Callable[..., cfg.ConfigOpts]


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the environment variables and files of the machine."""
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/runtime")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads files with these texts into a new ConfigOpts."""
    numbers = itertools.count()

    def load(*texts: str, **overrides: Any) -> cfg.ConfigOpts:
        files = [tmp_path / f"{next(numbers)}.conf" for _ in texts]
        for file, text in zip(files, texts, strict=True):
            file.write_text(text, encoding="utf-8", errors="surrogateescape")
        conf = cfg.ConfigOpts()
        loader.load(conf, BINARY, [f"--config-file={file}" for file in files], **overrides)
        return conf

    return load


def test_defaults_need_no_file(load: Load) -> None:
    conf = load("")

    assert conf.state_path == "/state/compute-launcher"
    assert conf.runtime_path == "/runtime/compute-launcher"
    assert conf.database.connection == "sqlite:////state/compute-launcher/launcher.sqlite"
    assert conf.transport_url == "unix:///runtime/compute-launcher/bus"
    assert (conf.report_interval, conf.service_down_time, conf.start_timeout) == (10, 60, 90)


def test_urls_follow_the_paths(load: Load) -> None:
    conf = load("[DEFAULT]\nstate_path = /s\nruntime_path = /r\n")

    assert conf.database.connection == "sqlite:////s/launcher.sqlite"
    assert conf.transport_url == "unix:///r/bus"


def test_systemd_outranks_xdg(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/launcher")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/launcher")

    conf = load("")

    assert (conf.state_path, conf.runtime_path) == ("/var/lib/launcher", "/run/launcher")


def test_the_file_of_a_package_is_outranked_by_the_administrators(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(locations, "SHIPPED", f"{tmp_path}/{{0}}-dist.conf")
    shipped = tmp_path / f"{BINARY}-dist.conf"
    shipped.write_text("[DEFAULT]\nworkers = 2\nruntime_path = /shipped\n")
    (tmp_path / f"{BINARY}.conf").write_text("[DEFAULT]\nworkers = 3\n")
    assert loader.runtime_path(BINARY) == Path("/shipped")
    conf = cfg.ConfigOpts()
    loader.load(conf, BINARY)
    assert (conf.workers, conf.runtime_path) == (3, "/shipped")
    shipped.unlink()
    loader.look_for_files(conf, BINARY)
    assert set(conf.default_config_files) == {str(tmp_path / f"{BINARY}.conf")}


def test_a_later_file_outranks_an_earlier_one_and_the_command_line_both(load: Load) -> None:
    first, second = "[DEFAULT]\nworkers = 2\nreport_interval = 2\n", "[DEFAULT]\nworkers = 3\n"

    assert load(first).workers == 2
    assert load(first, second).workers == 3
    assert load(first, second, workers=4).workers == 4
    assert load(first, second).report_interval == 2


def test_a_credential_outranks_all(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "transport_url").write_text("rabbit://u:p@h/\n")
    (tmp_path / "database_connection").write_text("postgresql://u:p@h/db\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    conf = load("[DEFAULT]\ntransport_url = unix:///x\n[database]\nconnection = sqlite:////x\n")

    assert conf.transport_url == "rabbit://u:p@h/"
    assert conf.database.connection == "postgresql://u:p@h/db"


def test_a_credential_is_taken_to_the_letter(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "transport_url").write_text("rabbit://u:$$p$w$host$@h/")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert load("").transport_url == "rabbit://u:$$p$w$host$@h/"


def test_no_credential_is_no_error(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    assert load("").transport_url.startswith("unix://")


@pytest.mark.parametrize(
    ("content", "problem"), [(b"", "is empty"), (b" \n", "is empty"), (b"\xff", "cannot be read")]
)
def test_a_credential_that_is_none_is_refused(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "transport_url").write_bytes(content)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))

    with pytest.raises(ConfigError, match=f"credential {tmp_path}/transport_url {problem}"):
        load("")


def test_credentials_that_cannot_be_reached_are_not_taken_for_none(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "closed").touch()
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "closed"))

    with pytest.raises(ConfigError, match=r"credential .*/closed/\w+ cannot be read"):
        load("")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[DEFAULT]\nworkers = 0\n", ["option workers in ", "0.conf", "greater than"]),
        ("[DEFAULT]\nworkers = many\n", ["option workers in ", "0.conf", "'many'"]),
        ("[DEFAULT]\nstart_timeout = -1\n", ["option start_timeout in "]),
        ("[DEFAULT]\nhost = a b\n", ["option host in "]),
        ("[DEFAULT]\nstate_path = here\n", ["option state_path", "not an absolute path"]),
        ("[DEFAULT]\nruntime_path = here\n", ["option runtime_path", "not an absolute path"]),
        (
            "[health]\nbeat_timeout = nan\n",
            ["option [health] beat_timeout in ", "nan is not a number"],
        ),
        ("[health]\nlisten = 127.0.0.1:80800\n", ["[health] listen in ", "80800 is no port"]),
        ("[metrics]\nlisten = 999.0.0.1:80\n", ["option [metrics] listen in ", "no IP address"]),
        ("[health]\nlisten = [:::]:80\n", ["option [health] listen in ", "no IP address"]),
        ("[health]\nprobe_timeout = inf\n", ["option [health] probe_timeout", "86400"]),
        ("[supervision]\nrestart_window = 0\n", ["option [supervision] restart_window in "]),
        ("[periodic_tasks]\nspacing = report\n", ["option [periodic_tasks] spacing in "]),
        ("[periodic_tasks]\nspacing = report:soon\n", ["spacing, task report", "'soon' is not"]),
        (
            "[DEFAULT]\nservice_down_time = 10\n",
            [
                "option service_down_time in ",
                "10 s has to be larger than report_interval (10 s)",
            ],
        ),
        (
            "[DEFAULT]\nlog_dir = /tmp\nlog_rotation_type = interval\n",
            ["option log_rotation_type in ", "interval: several processes", "logrotate"],
        ),
        ("[DEFAULT]\nreport_interval = 61\n", ["60 s has to be larger", "(61 s)"]),
        ("[DEFAULT]\ntransport_url = rabbit\n", ["option transport_url in ", ": this is no URL"]),
        ("[DEFAULT]\ntransport_url = rabbit://u:p$q@h\n", ["option transport_url", "write $$"]),
        ("[database]\nconnection = mysql://u:p$q@h\n", ["[database] connection", "write $$"]),
        ("[DEFAULT]\nstate_path = /$nope\n", ["option state_path", "write $$"]),
        ("[DEFAULT]\ndebug = maybe\n", ["debug", "maybe"]),
        ("[DEFAULT]\nworkers\n", ["0.conf:2", "workers"]),
        ("workers = 1\n", ["0.conf:1"]),
        ("[DEFAULT]\nhost = \udcff\n", ["no UTF-8"]),
    ],
)
def test_what_is_wrong_is_told_with_its_option_or_file(
    load: Load, capfd: pytest.CaptureFixture[str], text: str, parts: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)

    sentence = str(caught.value)
    assert [part for part in parts if part not in sentence] == []
    assert len(sentence.splitlines()) == 1
    assert caught.value.exit_status == 78
    assert capfd.readouterr().err == ""


def test_a_password_is_not_told_with_what_is_wrong(load: Load) -> None:
    with pytest.raises(OptionError) as caught:
        load("[DEFAULT]\ntransport_url = rabbit://u:sec$ret@h\n")

    assert "sec" not in str(caught.value)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["--config-file=/nope.conf"], "configuration file /nope.conf does not exist; name one"),
        (["--config-dir=/nope"], "configuration directory /nope does not exist"),
        (["--config-file=/"], "Is a directory"),
    ],
)
def test_files_that_are_not_there_are_named(args: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        loader.load(cfg.ConfigOpts(), BINARY, args)


@pytest.mark.parametrize(("option", "value"), [("workers", 401), ("host", "a b")])
def test_a_wrong_value_on_the_command_line_is_a_usage_error(
    load: Load, option: str, value: object
) -> None:
    with pytest.raises(UsageError, match=f"--{option} {value}: ") as caught:
        load("", **{option: value})

    assert caught.value.exit_status == 2


@pytest.mark.parametrize("name", ["my_host", "node-1.example.org", "::1"])
def test_the_machine_may_be_called(load: Load, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: name)

    assert load("").host == name


def test_a_machine_with_an_impossible_name_needs_another_one(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "x" * 64)

    with pytest.raises(OptionError, match=r"option host: this machine's name 'x+' cannot be used"):
        load("")
    assert load("[DEFAULT]\nhost = node-1\n").host == "node-1"


def test_a_dollar_in_a_directory_of_systemd_is_no_option(
    load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/srv/$x")

    conf = load("")

    assert conf.state_path == "/srv/$x"
    assert conf.database.connection == "sqlite:////srv/$x/launcher.sqlite"


def test_spacings_may_be_negative_and_broken(load: Load) -> None:
    conf = load("[periodic_tasks]\nspacing = report:-1, probe:2.5\n")

    assert conf.periodic_tasks.spacing == {"report": "-1", "probe": "2.5"}


def test_show_is_a_configuration_file_that_loads(
    load: Load, capsys: pytest.CaptureFixture[str]
) -> None:
    conf = load("[periodic_tasks]\nspacing = report:5,probe:7\n[DEFAULT]\nworkers = 3\n")

    config_command.show(conf, argparse.Namespace(platform=None))

    lines = capsys.readouterr().out.splitlines()
    assert "workers = 3" in lines
    assert "spacing = report:5,probe:7" in lines
    assert "transport_url = unix:///runtime/compute-launcher/bus" in lines


PASSWORDS = st.text("abc012:@/%#?&= é-", max_size=20)


@settings(max_examples=40, deadline=None, database=None)
@given(PASSWORDS, PASSWORDS)
def test_show_never_prints_a_password(bus: str, database: str) -> None:
    """In brackets, so that no single letter counts as a leak."""
    conf = cfg.ConfigOpts()
    loader.register(conf)
    conf([], project=BINARY, prog=BINARY, default_config_files=[], default_config_dirs=[])
    conf.set_override("transport_url", f"rabbit://u:<{bus}>@h/")
    conf.set_override("connection", f"postgresql://u:<{database}>@h/db", group="database")

    shown = "\n".join(config_command._lines(conf))

    assert "transport_url = rabbit://u:***@h/" in shown
    assert "connection = postgresql://u:***@h/db" in shown
    assert "<" not in shown


def test_a_secret_that_is_no_url_is_not_shown_at_all() -> None:
    secret = cfg.StrOpt("connection", secret=True)

    assert loader.shown(secret, "hunter2") == "***"
    assert loader.shown(secret, None) == ""


def test_every_option_has_a_help_text() -> None:
    without = [opt.name for _, opts in options.list_opts() for opt in opts if not opt.help]

    assert without == []


def test_what_can_change_without_a_new_process_is_known() -> None:
    assert ("DEFAULT", "workers") in loader.MUTABLE
    assert ("DEFAULT", "debug") in loader.MUTABLE
    assert ("supervision", "restart_limit") in loader.MUTABLE
    assert ("DEFAULT", "report_interval") not in loader.MUTABLE


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("debug = maybe", "option debug in {}: 'maybe' is neither true nor false"),
        ("state_path = here", "option state_path in {}: here is not an absolute path"),
        ("workers = many", "option workers in {}: 'many' is no whole number"),
        ("report_interval = 60", "option service_down_time: 60 s has to be larger"),
    ],
)
def test_a_value_that_is_wrong_is_named_with_its_file(
    tmp_path: Path, line: str, sentence: str
) -> None:
    file = tmp_path / "a.conf"
    file.write_text(f"[DEFAULT]\n{line}\n")
    with pytest.raises(OptionError, match=re.escape(sentence.format(file))):
        loader.load(cfg.ConfigOpts(), "compute-launcher", [f"--config-file={file}"])


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "OS_DEFAULT__WORKERS",
            "two",
            "option workers in OS_DEFAULT__WORKERS: 'two' is no whole number",
        ),
        ("OS_DEFAULT__WORKERS", "0", "option workers in OS_DEFAULT__WORKERS: "),
        (
            "OS_DEFAULT__DEBUG",
            "maybe",
            "option debug in OS_DEFAULT__DEBUG: 'maybe' is neither true nor false",
        ),
        (
            "OS_DEFAULT__STATE_PATH",
            "here",
            "option state_path in OS_DEFAULT__STATE_PATH: here is not an absolute path",
        ),
        (
            "OS_HEALTH__BEAT_TIMEOUT",
            "nan",
            "option [health] beat_timeout in OS_HEALTH__BEAT_TIMEOUT: nan is not a number",
        ),
        (
            "OS_HEALTH__BEAT_TIMEOUT",
            "long",
            "option [health] beat_timeout in OS_HEALTH__BEAT_TIMEOUT: 'long' is no number",
        ),
        ("OS_DEFAULT__TRANSPORT_URL", "x", "option transport_url in OS_DEFAULT__TRANSPORT_URL: "),
    ],
)
def test_a_variable_that_is_wrong_is_named_and_no_file_is(
    load: Load, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(variable, value)
    file = "[DEFAULT]\nworkers = 2\ndebug = true\nstate_path = /x\n[health]\nbeat_timeout = 5\n"
    for text in ("", file):
        with pytest.raises(OptionError, match=re.escape(sentence)) as caught:
            load(text)
        assert ".conf" not in str(caught.value)


def test_a_wrong_number_in_a_group_is_named_with_its_file(load: Load) -> None:
    with pytest.raises(OptionError, match=r"option \[health\] beat_timeout in .*\.conf: nan is"):
        load("[health]\nbeat_timeout = nan\n")


def test_a_service_is_found_whatever_else_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "a.conf"
    wrong = "debug = maybe\nworkers = many\nreport_interval = -1\ntransport_url = x\n"
    file.write_text(f"[DEFAULT]\nstate_path = {tmp_path}\nruntime_path = $state_path/run\n{wrong}")
    args = [f"--config-file={file}"]
    assert loader.runtime_path("compute-launcher", args) == tmp_path / "run"
    file.write_text("[DEFAULT]\nruntime_path = here\n")
    with pytest.raises(OptionError, match="runtime_path: here is not an absolute path"):
        loader.runtime_path("compute-launcher", args)


def test_a_credential_that_is_wrong_is_blamed_on_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "transport_url").write_text("nonsense")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    file = tmp_path / "a.conf"
    file.write_text("[DEFAULT]\ntransport_url = rabbit://h/\n")
    with pytest.raises(OptionError, match="option transport_url: this is no URL"):
        loader.load(cfg.ConfigOpts(), "compute-launcher", [f"--config-file={file}"])


SOURCE = """[DEFAULT]
config_source = remote
[remote]
driver = remote_file
uri = http://127.0.0.1:1/remote.conf
"""


def test_a_source_that_is_away_is_an_outage_and_gives_no_defaults(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """oslo.config goes on with defaults: the service would be on another bus and database."""
    file = tmp_path / "a.conf"
    file.write_text(SOURCE)
    args = [f"--config-file={file}"]
    with pytest.raises(ConfigSourceUnavailable, match=r"'remote'.*option config_source") as raised:
        loader.load(cfg.ConfigOpts(), BINARY, args)
    assert raised.value.exit_status == 69
    assert loader.runtime_path(BINARY, args), "a running service is asked all the same"
    assert capfd.readouterr().err == ""

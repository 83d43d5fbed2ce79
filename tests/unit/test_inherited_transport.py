"""The transport that the master makes for its workers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_config import cfg

from launcher.config import loader
from launcher.rabbit import transport
from launcher.rabbit.driver_connection import DriverConnection
from launcher.serve import inherited_transport, loading
from launcher.serve.manager_application import ManagerApplication
from launcher.supervise.operations.in_force import Configuration

BINARY = "compute-launcher"
URL = "rabbit://127.0.0.1:1//"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The usual place of configuration files."""
    for name in ("STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(transport, "set_defaults", lambda conf: None)  # they are this process's
    yield tmp_path
    inherited_transport.forget()


def load(home: Path, url: str, more: str = "") -> cfg.ConfigOpts:
    directory = home / f".{BINARY}"
    directory.mkdir(exist_ok=True)
    text = f"[DEFAULT]\ntransport_url = {url}\n{more}"
    (directory / f"{BINARY}.conf").write_text(text)
    conf = cfg.ConfigOpts()
    loader.load(conf, BINARY)
    return conf


def test_workers_have_the_masters(home: Path) -> None:
    conf = load(home, URL)
    inherited_transport.bequeath(conf)
    found = inherited_transport.inherited(conf)
    assert found is not None
    assert found is inherited_transport.inherited(conf)
    assert inherited_transport.inherited(load(home, URL)) is None


def test_it_makes_no_connection(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(*_: object, **__: object) -> None:
        raise AssertionError("connected")

    monkeypatch.setattr(DriverConnection, "__init__", connect)
    inherited_transport.bequeath(load(home, URL))


@pytest.mark.parametrize(
    ("url", "more"),
    [
        (URL + "?use_queue_manager=true", ""),
        (URL, "[oslo_messaging_rabbit]\nuse_queue_manager = true\n"),
        ("unix:///run/bus", ""),
    ],
)
def test_one_that_belongs_to_its_process_is_not_inherited(home: Path, url: str, more: str) -> None:
    conf = load(home, url, more)
    inherited_transport.bequeath(conf)
    assert inherited_transport.inherited(conf) is None


def test_a_reload_drops_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the values that the driver's options had."""
    monkeypatch.setattr(loading, "preload", lambda conf: None)
    conf = load(home, URL)
    configuration = Configuration(conf, BINARY, ManagerApplication(conf, BINARY))
    inherited_transport.bequeath(conf)
    load(home, URL, "[oslo_messaging_rabbit]\nheartbeat_timeout_threshold = 7\n")
    assert configuration.check()
    assert inherited_transport.inherited(conf) is not None
    configuration.take()
    assert inherited_transport.inherited(conf) is None

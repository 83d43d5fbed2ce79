"""Root asks who the service is, where its directory does not show it."""

from pathlib import Path

import pytest
from oslo_config import cfg
from oslo_messaging import TransportURL

from launcher.cli import owner
from launcher.directories import ownership, privileges
from launcher.errors import BusUnavailable
from launcher.unixbus import driver_options

SERVICE = 61184


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cfg.ConfigOpts:
    """A bus that lies behind an id-mapped mount; root asks."""
    (tmp_path / "bus").mkdir()
    conf = cfg.ConfigOpts()
    TransportURL.parse(conf, "unix:///")  # registers its options
    conf.register_opts([cfg.StrOpt("runtime_path")])
    conf([])
    conf.set_override("transport_url", f"unix://{tmp_path}/bus")
    conf.set_override("runtime_path", str(tmp_path))
    shown = ownership.look(str(tmp_path))._replace(uid=ownership.overflow_uid())
    monkeypatch.setattr(ownership, "look", lambda path: shown)
    monkeypatch.setattr(privileges, "become_owner", lambda path: None)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(owner, "LOOK_SECONDS", 0.001)
    return conf


def test_a_master_that_is_being_restarted_is_waited_for(
    hidden: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the owner is shown the call would wait in the queue."""
    errors: list[OSError] = [FileNotFoundError(2, "gone"), ConnectionRefusedError(111, "closed")]

    def ask(runtime_path: Path) -> int:
        if errors:
            raise errors.pop(0)
        return SERVICE

    monkeypatch.setattr("launcher.cli.owner.control_connection.uid_of_master", ask)
    assert owner.become_bus_owner(hidden, wait_seconds=30) > 0
    assert driver_options.trusted_users(hidden) == {SERVICE}


def test_one_that_does_not_come_back_is_told_of(
    hidden: cfg.ConfigOpts, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def ask(runtime_path: Path) -> int:
        asked.append(runtime_path)
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr("launcher.cli.owner.control_connection.uid_of_master", ask)
    with pytest.raises(BusUnavailable, match=r"no master listens in .* is it running"):
        owner.become_bus_owner(hidden, wait_seconds=0.05)
    assert len(asked) > 1
    with pytest.raises(BusUnavailable, match="no master listens in"):
        owner.become_bus_owner(hidden)

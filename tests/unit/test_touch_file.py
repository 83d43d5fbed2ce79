"""The file whose time says that the master lives."""

import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from launcher.board.board import Board
from launcher.errors import OptionError
from launcher.supervise.operations.housekeeping import Housekeeping
from launcher.supervise.operations.touch_file import TouchFile

OLD = 1_000_000_000


def age(path: Path) -> None:
    os.utime(path, (OLD, OLD))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alive"


def test_the_time_is_set_once_a_second_while_the_master_lives(path: Path) -> None:
    touched = TouchFile(str(path))
    for now, lives, fresh in ((10.0, True, True), (10.5, True, False), (11.5, False, False)):
        age(path)
        touched.renew(now, lambda lives=lives: lives)  # type: ignore[misc]
        assert (path.stat().st_mtime > OLD) is fresh
    touched.renew(12.0, lambda: True)
    assert path.stat().st_mtime > OLD


def test_a_file_that_is_there_is_taken_and_one_that_goes_is_made_again(path: Path) -> None:
    path.write_text("kept")
    age(path)
    touched = TouchFile(str(path))
    assert path.stat().st_mtime > OLD
    assert path.read_text() == "kept"
    path.unlink()
    touched.renew(10.0, lambda: True)
    assert path.exists()


def test_a_file_that_cannot_be_touched_is_said_at_the_start(tmp_path: Path, path: Path) -> None:
    path.symlink_to("other")
    for wrong in (tmp_path / "none" / "alive", tmp_path, path):
        with pytest.raises(OptionError, match=r"\[health\] touch_file"):
            TouchFile(str(wrong))
    assert not (tmp_path / "other").exists()


def test_later_it_is_logged_once_and_when_it_is_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "directory"
    directory.mkdir()
    caplog.set_level("INFO")
    touched = TouchFile(str(directory / "alive"))
    (directory / "alive").unlink()
    directory.rmdir()
    for now in (10.0, 11.0):
        touched.renew(now, lambda: True)
    assert caplog.text.count("cannot be touched: No such file or directory") == 1
    directory.mkdir()
    touched.renew(12.0, lambda: True)
    assert caplog.text.count("can be touched again") == 1


def test_without_the_option_nothing_is_touched() -> None:
    TouchFile(None).renew(10.0, lambda: True)


@pytest.mark.parametrize("stopping", [True, False])
def test_only_the_master_in_charge_renews_it(path: Path, stopping: bool) -> None:
    """In an upgrade, the other one would hide that this one hangs."""
    board, conf = Board(2), Mock()
    conf.health.touch_file = str(path)
    parts = {name: Mock() for name in ("deaths", "orphans", "instance", "report_age", "monitor")}
    more = {name: Mock() for name in ("application", "history")}
    housekeeping = Housekeeping(board, Mock(), conf=conf, policy=Mock(), **parts, **more)
    housekeeping._changes = Mock(look=Mock(return_value=[]))
    housekeeping._lives = Mock(return_value=True)  # type: ignore[method-assign]
    board.stand_beside(beside=True)
    if stopping:
        board.announce_stop()
    age(path)
    housekeeping.on_round(10.0)
    assert path.stat().st_mtime == OLD
    board.stand_beside(beside=False)
    housekeeping.on_round(10.1)
    assert path.stat().st_mtime > OLD

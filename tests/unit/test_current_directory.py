"""Whose current directory may hold a manager."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.directories import ownership
from launcher.errors import ManagerNotFound
from launcher.serve import current_directory, loading

ALICE, BOB = 4001, 4002
PRIVATE_GROUP_OF_NOBODY = 4009
MODULE = """
from launcher.serve.manager import Manager
class Thermometer(Manager): ...
"""


def reached(uid: int, mode: int = 0o755, *rulers: int) -> ownership.Reached:
    return ownership.Reached(-1, uid, PRIVATE_GROUP_OF_NOBODY, mode, frozenset(rulers), ())


@pytest.mark.parametrize(
    ("place", "user", "fault"),
    [
        (reached(ALICE), ALICE, ""),
        (reached(0), ALICE, ""),
        (reached(0), 0, ""),
        (reached(ALICE), 0, "it belongs to uid 4001"),
        (reached(ALICE), BOB, "it belongs to uid 4001"),
        (reached(ALICE, 0o755, BOB), ALICE, "uid 4002 could put another directory in its place"),
        (reached(0, 0o755, ALICE), 0, "uid 4001 could put another directory in its place"),
        (reached(0, 0o755, ALICE), ALICE, ""),
        (reached(ALICE, 0o777), ALICE, "others may write to it (mode 0777)"),
        (reached(0, 0o1777), ALICE, "others may write to it (mode 1777)"),
        (reached(ALICE, 0o775), ALICE, "others may write to it (mode 0775)"),
    ],
)
def test_only_what_root_and_we_alone_can_write_is_run(
    place: ownership.Reached, user: int, fault: str
) -> None:
    assert current_directory.fault_of(place, user) == fault


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A current directory with a module in it; path and modules are as before afterwards."""
    (tmp_path / "beside.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    without = [entry for entry in sys.path if entry not in {"", str(Path.cwd())}]
    monkeypatch.setattr(sys, "path", without)
    yield tmp_path
    sys.modules.pop("beside", None)


def trust(monkeypatch: pytest.MonkeyPatch, place: ownership.Reached) -> None:
    monkeypatch.setattr(ownership, "look", lambda path: place)


def test_a_manager_beside_us_is_found(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch, reached(os.geteuid()))

    assert loading.manager_class("beside:Thermometer", "x").__name__ == "Thermometer"
    assert sys.path[-1] == str(here)


def test_what_is_installed_comes_first(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch, reached(os.geteuid()))
    (here / "json.py").write_text(MODULE)

    assert current_directory.offer("json.decoder") == ""
    assert str(here) not in sys.path


def test_another_users_directory_is_not_used_and_it_is_said_why(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(monkeypatch, reached(BOB))

    with pytest.raises(ManagerNotFound, match=f"{here}: it belongs to uid {BOB}"):
        loading.manager_class("beside:Thermometer", "x")
    assert str(here) not in sys.path


def test_neither_is_a_file_that_others_may_write(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(monkeypatch, reached(os.geteuid()))
    (here / "beside.py").chmod(0o666)

    assert "beside.py: others may write to it (mode 0666)" in current_directory.offer("beside")


def test_neither_is_a_package_of_another_user(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "theirs").mkdir()
    found = {str(here): reached(os.geteuid()), str(here / "theirs"): reached(BOB)}
    monkeypatch.setattr(ownership, "look", found.__getitem__)

    assert f"theirs: it belongs to uid {BOB}" in current_directory.offer("theirs.module")


def test_a_directory_that_was_removed_is_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    assert "No such file or directory" in current_directory.offer("beside")

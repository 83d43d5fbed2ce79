"""The directories of state and runtime files, and the errors for those that cannot be used."""

import errno
import os
import stat
import tempfile
from pathlib import Path

import pytest

from launcher.directories import locations, ownership, paths
from launcher.errors import DirectoryExposed, DirectoryFull, DirectoryUnusable, OptionError
from tests.support.users import ALICE, needs_root

BINARY = "compute-launcher"
UID = 1000


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"STATE_DIRECTORY": "/var/lib/x", "XDG_STATE_HOME": "/y"}, "/var/lib/x"),
        ({"STATE_DIRECTORY": "/var/lib/x:/var/lib/z"}, "/var/lib/x"),
        ({"STATE_DIRECTORY": "/var/lib/x:/z/compute-launcher"}, "/z/compute-launcher"),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/y"}, "/y/compute-launcher"),
        ({"XDG_STATE_HOME": "", "HOME": "/h"}, "/h/.local/state/compute-launcher"),
        ({"HOME": "/h"}, "/h/.local/state/compute-launcher"),
    ],
)
def test_state_goes_where_systemd_says_or_else_xdg(environ: dict[str, str], path: str) -> None:
    assert locations.state_path(environ, BINARY) == path


def test_a_user_without_a_home_gets_a_path_that_is_refused_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it does without an entry

    assert not locations.state_path({}, BINARY).startswith("/")


@pytest.mark.parametrize(
    ("environ", "uid", "path"),
    [
        ({"RUNTIME_DIRECTORY": "/run/x", "XDG_RUNTIME_DIR": "/run/user/7"}, UID, "/run/x"),
        ({"RUNTIME_DIRECTORY": "/run/x:/run/z"}, UID, "/run/x"),
        ({"RUNTIME_DIRECTORY": "/run/x:/z/compute-launcher"}, UID, "/z/compute-launcher"),
        ({"XDG_RUNTIME_DIR": "/run/user/7"}, UID, "/run/user/7/compute-launcher"),
        ({}, 0, "/run/compute-launcher"),
        ({}, UID, "/tmp/compute-launcher-1000"),
    ],
)
def test_runtime_files_go_where_systemd_says_or_else_xdg(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], uid: int, path: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/tmp")

    assert locations.runtime_path(environ, BINARY) == path


def test_a_command_needs_no_directory_of_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container whose root is read-only it ended with a traceback."""

    def none_can_be_written() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(os, "geteuid", lambda: UID)
    monkeypatch.setattr(tempfile, "gettempdir", none_can_be_written)
    assert locations.runtime_path({}, BINARY) == "/tmp/compute-launcher-1000"


def test_a_missing_directory_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"

    paths.prepare("state_path", path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert list(path.iterdir()) == []


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    paths.prepare("state_path", tmp_path)

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.parametrize("option", ["state_path", "runtime_path"])
def test_nothing_is_made_in_a_directory_that_is_open_to_others(
    tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setattr(paths, "_prove_writable", lambda *_: pytest.fail("it is used"))

    with pytest.raises(DirectoryExposed, match=rf"{option}.*others may write to it"):
        paths.prepare(option, tmp_path)


@pytest.mark.parametrize("made", [True, False])
@pytest.mark.parametrize("below", ["state", "state/more"])
def test_a_parent_that_anybody_may_write_to_is_named(
    tmp_path: Path, below: str, made: bool
) -> None:
    """Kubernetes makes an `emptyDir` so. With the sticky bit nobody can replace our part."""
    path = tmp_path / below
    if made:
        path.mkdir(mode=0o700, parents=True)
    tmp_path.chmod(0o777)

    with pytest.raises(DirectoryExposed) as caught:
        paths.prepare("state_path", path)

    named = f"anybody who may write to {tmp_path} (mode 0777) could put another directory"
    assert named in str(caught.value)
    assert "chmod +t" in str(caught.value)
    assert path.exists() == made

    tmp_path.chmod(0o1777)
    paths.prepare("state_path", path)


@pytest.mark.parametrize("below", ["file", "file/x"])
def test_a_file_in_the_way_is_told_in_one_sentence(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(DirectoryUnusable) as caught:
        paths.prepare("state_path", tmp_path / below)

    assert str(caught.value).startswith(f"state_path = {tmp_path / below}: ")
    assert f"uid {os.geteuid()} or set state_path to another one" in str(caught.value)
    assert caught.value.exit_status == 78


def test_a_directory_that_cannot_be_written_is_refused() -> None:
    """Even root cannot write to /proc/self."""
    with pytest.raises(DirectoryUnusable, match="state_path = /proc/self: "):
        paths.prepare("state_path", Path("/proc/self"))


@pytest.mark.parametrize(
    ("mode", "private"), [(0o700, True), (0o755, True), (0o770, False), (0o702, False)]
)
def test_nobody_else_may_write_to_the_runtime_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int, private: bool
) -> None:
    monkeypatch.setattr(ownership, "_is_private", lambda gid: False)
    tmp_path.chmod(mode)

    if private:
        paths.check_private("runtime_path", tmp_path)
    else:
        with pytest.raises(DirectoryExposed, match="others may write to it"):
            paths.check_private("runtime_path", tmp_path)


def test_the_runtime_directory_of_another_user_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(DirectoryExposed, match=rf"it belongs to .*uid {owner}\b"):
        paths.check_private("runtime_path", tmp_path)


def test_a_path_too_long_for_sockets_is_refused_at_the_first_byte_too_many() -> None:
    longest = paths.SUN_PATH_BYTES - paths.LONGEST_SOCKET - 1

    paths.check_socket_room("runtime_path", Path("/" + "x" * (longest - 1)))
    with pytest.raises(OptionError, match=f"longer than {longest} bytes"):
        paths.check_socket_room("runtime_path", Path("/" + "x" * longest))


def test_bytes_count_not_letters() -> None:
    with pytest.raises(OptionError):
        paths.check_socket_room("runtime_path", Path("/" + "é" * 40))


def test_a_full_disk_is_no_mistake_of_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk may be mended without a new configuration, so systemd may start it again."""

    def refuse(*_: object, **__: object) -> object:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(DirectoryFull, match="No space left on device; make room there") as caught:
        paths.prepare("state_path", tmp_path)
    assert caught.value.exit_status == 69
    assert list(tmp_path.iterdir()) == []


def test_the_proof_of_a_directory_goes_through_no_link(tmp_path: Path) -> None:
    """The file may be the draft of a process that was killed."""
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "canary").write_text("kept")
    (tmp_path / "state" / f".proof.{os.getpid()}").symlink_to(tmp_path / "canary")

    paths.prepare("state_path", tmp_path / "state")

    assert (tmp_path / "canary").read_text() == "kept"
    assert list((tmp_path / "state").iterdir()) == []


def test_no_directory_for_temporary_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", fail)

    with pytest.raises(DirectoryUnusable, match=r"temporary directory = .*No usable temporary"):
        paths.prepare_temporary()


def test_a_directory_for_temporary_files_that_is_gone_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, other = tmp_path / "gone", tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(gone))
    monkeypatch.setenv("TMPDIR", str(other))

    paths.prepare_temporary()

    assert not gone.exists()
    assert tempfile.gettempdir() == str(other)


@needs_root
def test_a_directory_behind_a_closed_one_is_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    os.seteuid(ALICE)
    try:
        with pytest.raises(DirectoryUnusable, match="Permission denied"):
            paths.check("state_path", tmp_path / "closed" / "state")
        with pytest.raises(PermissionError):  # Python 3.14's own exists() says no
            ownership.is_there(tmp_path / "closed" / "state")
        with pytest.raises(PermissionError):
            ownership.nearest(tmp_path / "closed" / "state")
    finally:
        os.seteuid(0)

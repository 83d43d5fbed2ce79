"""The directory that is the bus: made once, private, and read with care."""

import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from oslo_messaging._drivers.base import TransportDriverError

from launcher.directories.beneath import Beneath
from launcher.directories.checked_files import Untrusted
from launcher.unixbus.directory import PARTS, BusDirectory, open_directory
from tests.support.directories import short_directory

LIMIT = 100
NOBODY = 65534


@pytest.fixture
def path() -> Iterator[Path]:
    with short_directory() as path:
        yield path / "bus"


@pytest.fixture
def directory(path: Path) -> BusDirectory:
    return open_directory(str(path))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o022, 0o000, 0o277])
def test_whoever_comes_first_makes_it_private(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        open_directory(str(path))
    finally:
        os.umask(before)

    assert mode(path) == 0o700
    assert sorted(part.name for part in path.iterdir()) == sorted(PARTS)
    assert {mode(part) for part in path.iterdir()} == {0o700}


def test_parents_are_made_too(path: Path) -> None:
    assert open_directory(str(path / "deeper" / "bus")).path == str(path / "deeper" / "bus")


def test_an_empty_private_directory_will_do(path: Path) -> None:
    path.mkdir(mode=0o700)

    open_directory(str(path))

    assert sorted(part.name for part in path.iterdir()) == sorted(PARTS)


def test_many_may_come_first(path: Path) -> None:
    barrier = threading.Barrier(8)
    opened: list[BusDirectory] = []

    def come() -> None:
        barrier.wait()
        opened.append(open_directory(str(path)))

    threads = [threading.Thread(target=come) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(opened) == 8
    assert sorted(part.name for part in path.iterdir()) == sorted(PARTS)


@pytest.mark.parametrize("bits", [0o750, 0o701, 0o770, 0o777])
def test_a_directory_open_to_others_is_refused(path: Path, bits: int) -> None:
    path.mkdir()
    path.chmod(bits)

    with pytest.raises(TransportDriverError, match=f"open to others \\(mode 0{bits:o}\\)"):
        open_directory(str(path))


def test_a_file_is_no_directory(path: Path) -> None:
    path.touch()

    with pytest.raises(TransportDriverError, match="is not a directory"):
        open_directory(str(path))


def test_neither_is_a_link_to_one(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path)

    with pytest.raises(TransportDriverError, match="is not a directory"):
        open_directory(str(path))


def test_a_parent_that_is_a_file_is_an_error_of_the_system(path: Path) -> None:
    path.touch()

    with pytest.raises(NotADirectoryError):
        open_directory(str(path / "bus"))


def test_what_was_written_is_read(directory: BusDirectory) -> None:
    directory.write_new("file", b"x" * LIMIT)

    assert directory.read_trusted("file", LIMIT) == b"x" * LIMIT
    with pytest.raises(Untrusted, match="100 bytes where 99 are allowed"):
        directory.read_trusted("file", LIMIT - 1)


def test_an_existing_file_is_not_overwritten(directory: BusDirectory) -> None:
    directory.write_new("file", b"first")

    with pytest.raises(FileExistsError):
        directory.write_new("file", b"second")
    assert directory.read_trusted("file", LIMIT) == b"first"


def test_only_plain_files_are_read(directory: BusDirectory) -> None:
    directory.write_new("file", b"")
    Path(directory.at("link")).symlink_to(directory.at("file"))
    os.mkfifo(directory.at("fifo"))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(directory.at("socket"))

    for kind in ("link", "fifo", "socket", "peers"):
        with pytest.raises(Untrusted, match="no plain file"):
            directory.read_trusted(kind, LIMIT)
    with pytest.raises(FileNotFoundError):
        directory.read_trusted("nothing", LIMIT)
    listener.close()


def test_a_file_of_somebody_else_is_not_read(directory: BusDirectory) -> None:
    directory.write_new("file", b"")

    with pytest.raises(Untrusted, match=f"owned by user {os.getuid()}"):
        directory.read("file", LIMIT, frozenset({NOBODY}))


def test_what_a_sibling_has_just_made_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sibling may be about to make a file in it, and would find no directory."""
    directory = open_directory(str(tmp_path / "bus"))
    path = tmp_path / "bus" / "fanout" / "topic"
    make_draft = Beneath.make

    def be_late(self: Beneath, draft: str, mode: int = 0o700) -> None:
        make_draft(self, draft, mode)
        path.mkdir(mode=0o700, exist_ok=True)

    monkeypatch.setattr(Beneath, "make", be_late)
    siblings: list[int] = []

    def name(self: Beneath, draft: str, place: str) -> None:
        siblings.append(path.stat().st_ino)
        rename(self, draft, place)

    rename = Beneath.rename_new
    monkeypatch.setattr(Beneath, "rename_new", name)
    directory.ensure("fanout/topic")
    assert path.stat().st_ino == siblings[0]
    assert [entry.name for entry in path.parent.iterdir()] == ["topic"]


def test_where_the_file_system_knows_no_such_rename_a_plain_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.directories.system_calls.NO_REPLACE", 1 << 20)  # EINVAL
    directory = open_directory(str(tmp_path / "bus"))
    directory.ensure("queues/q", "new", "cur", fifos=("wake", "calls"))
    assert (tmp_path / "bus" / "queues" / "q" / "wake").is_fifo()

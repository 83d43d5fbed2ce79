"""Files below a directory are reached without following links, with and without openat2."""

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from launcher.directories import ownership, subdirectories, system_calls
from launcher.directories.beneath import Beneath
from launcher.directories.creation import make_missing
from launcher.directories.system_calls import open_at_once, open_by_parts
from tests.support.descriptors import opened


@pytest.fixture(params=[open_at_once, open_by_parts], ids=["openat2", "by parts"])
def directory(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Beneath:
    monkeypatch.setattr(subdirectories, "opener", lambda: request.param)
    (tmp_path / "held").mkdir()
    return Beneath.open_path(str(tmp_path / "held"))


@pytest.fixture
def canary(tmp_path: Path, directory: Beneath) -> Path:
    """A directory outside that has a file. Inside lies a link to each of the two."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("kept")
    Path(directory.path, "link").symlink_to(outside)
    Path(directory.path, "file-link").symlink_to(outside / "file")
    return outside


def operations(directory: Beneath) -> dict[str, Callable[[], object]]:
    """Each operation, through a link to a directory outside."""
    Path(directory.path, "mine").write_text("mine")
    return {
        "open": lambda: directory.open("link/file", os.O_WRONLY | os.O_TRUNC),
        "write_new": lambda: directory.write_new("link/new", b""),
        "read": lambda: directory.read("link/file", 10, frozenset({os.geteuid()})),
        "make": lambda: directory.make("link/new"),
        "make_fifo": lambda: directory.make_fifo("link/new"),
        "names": lambda: directory.names("link"),
        "rename away": lambda: directory.rename("link/file", "got"),
        "rename into": lambda: directory.rename("mine", "link/file"),
        "rename_new": lambda: directory.rename_new("link/file", "link/other"),
        "link": lambda: directory.link("mine", "link/new"),
        "unlink": lambda: directory.unlink("link/file"),
        "remove": lambda: directory.remove("link/file"),
        "open_lock": lambda: directory.open_lock("file-link"),
        "lock": lambda: directory.open_lock("link/file"),
    }


def test_nothing_is_done_through_a_link(directory: Beneath, canary: Path) -> None:
    for name, operation in operations(directory).items():
        with pytest.raises(OSError, match=r"\w") as caught:
            operation()
        assert caught.value.errno in {errno.ELOOP, errno.ENOTDIR}, name
    assert directory.facts("link/file") is None
    assert [path.name for path in canary.iterdir()] == ["file"]
    assert (canary / "file").read_text() == "kept"


def test_nothing_leads_out(directory: Beneath, canary: Path) -> None:
    for name in ("../outside/file", "sub/../../outside/file", str(canary / "file")):
        with pytest.raises(OSError, match=r"\w"):
            directory.open(name, os.O_RDONLY)


def test_removing_takes_links_and_not_what_they_lead_to(directory: Beneath, canary: Path) -> None:
    directory.make("tree")
    directory.make("tree/deep")
    Path(directory.path, "tree", "deep", "link").symlink_to(canary)
    os.link(canary / "file", Path(directory.path, "tree", "hard"))

    for name in ("tree", "link", "file-link", "nothing"):
        directory.remove(name)

    assert directory.names() == []
    assert (canary / "file").read_text() == "kept"


def test_a_lock_is_a_plain_file_with_one_name(directory: Beneath, canary: Path) -> None:
    os.close(directory.open_lock("new.lock"))
    assert Path(directory.path, "new.lock").stat().st_mode & 0o777 == 0o600
    os.link(canary / "file", Path(directory.path, "hard"))
    directory.make_fifo("fifo")

    for name in ("hard", "fifo"):
        with pytest.raises(OSError, match="no plain file of this user's alone"):
            directory.open_lock(name)


def test_sockets_are_reached_by_any_length_of_path(directory: Beneath) -> None:
    place = "/".join(["x" * 200] * 3)
    for depth in range(1, 4):
        directory.make("/".join(["x" * 200] * depth))
    receiver = directory.bind(f"{place}/sock", socket.SOCK_DGRAM)
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    with receiver, sender:
        with directory.address(f"{place}/sock") as address:
            sender.sendto(b"hello", address)
        assert receiver.recv(10) == b"hello"


def test_a_link_is_no_socket(directory: Beneath, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"{tmp_path}/other")
        Path(directory.path, "sock").symlink_to(tmp_path / "other")
        with (
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender,
            pytest.raises(OSError, match=r"\w"),
            directory.address("sock") as address,
        ):
            sender.sendto(b"hello", address)


def test_it_knows_when_its_path_leads_elsewhere(directory: Beneath) -> None:
    path = Path(directory.path)
    assert not directory.is_elsewhere()

    path.rename(path.with_name("moved"))
    assert directory.is_elsewhere()
    path.mkdir()
    assert directory.is_elsewhere()


def test_a_directory_that_was_made_anew_is_found(directory: Beneath) -> None:
    for content in (b"first", b"second"):
        directory.make("part")
        directory.write_new("part/file", content)
        assert directory.read("part/file", 10, frozenset({os.geteuid()})) == content
        directory.remove("part")
        assert directory.facts("part/file") is None


def test_it_keeps_a_bounded_number_of_descriptors(directory: Beneath) -> None:
    before = len(opened())
    for number in range(3 * subdirectories.MOST_KEPT):
        directory.make(f"{number}")
        directory.write_new(f"{number}/file", b"")

    assert len(opened()) <= before + subdirectories.MOST_KEPT
    directory.close()
    assert len(opened()) < before


def test_it_leaves_no_descriptor_behind(directory: Beneath, canary: Path) -> None:
    assert directory.facts("link") is not None  # its own is kept
    before = len(opened())
    for operation in operations(directory).values():
        with pytest.raises(OSError, match=r"\w"):
            operation()
    assert len(opened()) == before


def test_a_kernel_without_openat2_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    system_calls.opener.cache_clear()
    monkeypatch.setattr(system_calls, "OPENAT2", 100_000)  # ENOSYS
    assert system_calls.opener() is open_by_parts
    system_calls.opener.cache_clear()
    monkeypatch.undo()
    assert system_calls.opener() is open_at_once


def test_what_is_missing_on_a_way_is_made_for_us_alone(tmp_path: Path) -> None:
    """The directory would be refused if a group could write to its parents."""
    before = os.umask(0o002)
    try:
        assert make_missing(tmp_path / "a" / "b") == frozenset()
    finally:
        os.umask(before)

    for made in (tmp_path / "a", tmp_path / "a" / "b"):
        assert made.stat().st_mode & 0o7777 == 0o700


def test_a_link_that_comes_while_a_way_is_made_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "canary").mkdir()
    judge = ownership.rulers_below

    def late(reached: ownership.Reached) -> frozenset[int]:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "b").symlink_to(tmp_path / "canary")
        return judge(reached)

    monkeypatch.setattr(ownership, "rulers_below", late)
    with pytest.raises(NotADirectoryError):
        make_missing(tmp_path / "a" / "b" / "c")

    assert list((tmp_path / "canary").iterdir()) == []

"""Copies of a program's configuration files: who reads the files, and who the copies."""

import os
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from launcher.program.files import ProgramFiles, _Reading


class World:
    """A file with one option, and workers that read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = ProgramFiles()

    def write(self, word: str) -> None:
        self.path.write_text(f"[DEFAULT]\nword = {word}\n")

    def read(self, *, anew: bool = False, how: str = "--config-file={path}") -> str:
        conf = cfg.ConfigOpts()
        conf.register_opt(cfg.StrOpt("word", default="none"))
        argument = how.format(path=self.path, directory=self.path.parent)
        with self.files.reading(anew=anew):
            conf([argument] if argument else [], project="program", prog="x")
        return str(conf.word)

    def prove(self, *, anew: bool = False, how: str = "--config-file={path}") -> str:
        word = self.read(anew=anew, how=how)
        self.files.leave_copies(anew=anew)
        return word


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path / "x.conf")
    world.write("old")
    return world


def test_until_one_is_proven_the_files_are_read(world: World) -> None:
    assert world.read() == "old"
    world.write("new")
    assert world.prove() == "new"


def test_later_ones_get_copies(world: World) -> None:
    world.prove()
    world.write("new")
    assert world.prove() == "old"
    world.path.unlink()
    assert world.prove() == "old"


def test_a_reload_that_fails_leaves_the_copies_in_force(world: World) -> None:
    world.prove()
    for word in ("new", "newer"):
        world.files.begin_reload()
        world.write(word)
        assert world.prove(anew=True) == word  # the surge; a later worker fails
        assert world.read() == "old"


def test_a_reload_that_succeeds_puts_the_files_in_force(world: World) -> None:
    world.prove()
    world.files.begin_reload()
    world.write("new")
    world.prove(anew=True)
    world.files.adopt()
    world.write("newer")
    assert world.read() == "new"


def test_a_file_that_came_later_counts_as_empty(world: World) -> None:
    world.prove()
    world.path = world.path.with_name("other.conf")
    world.write("new")
    assert world.read() == "none"


@pytest.mark.parametrize("removed", ["the file", "the directory"])
@pytest.mark.parametrize("how", ["--config-dir={directory}", ""])
def test_a_file_that_was_found_is_found_again(
    world: World, monkeypatch: pytest.MonkeyPatch, how: str, removed: str
) -> None:
    """In a directory of files, or at a usual place; others that came meanwhile are not."""
    monkeypatch.setenv("HOME", str(world.path.parent))
    place = world.path.parent if how else world.path.parent / ".program"
    place.mkdir(exist_ok=True)
    world.path = world.path.rename(place / "x.conf")
    assert world.prove(how=how) == "old"
    world.path.unlink()
    if removed == "the directory":
        place.rmdir()
    else:
        (place / "y.conf").write_text("[DEFAULT]\nword = new\n")
        (place / "program.conf").write_text("[DEFAULT]\nword = new\n")
    assert world.prove(how=how) == "old"
    if how and removed == "the directory":
        with pytest.raises(cfg.ConfigDirNotFoundError):
            world.read(anew=True, how=how)
    else:
        found = "none" if removed == "the directory" else "new"
        assert world.read(anew=True, how=how) == found


def test_a_missing_file_is_missed(world: World) -> None:
    world.path.unlink()
    with pytest.raises(cfg.ConfigFilesNotFoundError):
        world.read()


def test_a_copy_that_was_cut_is_none(world: World) -> None:
    world.prove()
    os.ftruncate(world.files.descriptor, 5)
    world.write("new")
    assert world.read() == "new"


def test_the_parser_is_as_before(world: World) -> None:
    module: Any = cfg
    before = cfg.ConfigParser.parse, module.os, module.glob
    world.read()
    assert (cfg.ConfigParser.parse, module.os, module.glob) == before


def test_a_directory_that_may_not_be_searched_has_no_files(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Such as $HOME, where oslo.config always looks; Path.exists raises before Python 3.14."""

    def refuse(path: object, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", refuse)
        assert not _Reading({}).exists("/root/.program/program.conf")

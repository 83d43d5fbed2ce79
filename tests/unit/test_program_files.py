"""Copies of a program's configuration files: who reads the files, and who the copies."""

import os
from pathlib import Path

import pytest
from oslo_config import cfg

from launcher.program.files import ProgramFiles


class World:
    """A file with one option, and workers that read it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.files = ProgramFiles()

    def write(self, word: str) -> None:
        self.path.write_text(f"[DEFAULT]\nword = {word}\n")

    def read(self, *, anew: bool = False) -> str:
        conf = cfg.ConfigOpts()
        conf.register_opt(cfg.StrOpt("word", default="none"))
        with self.files.reading(anew=anew):
            conf([f"--config-file={self.path}"], project="program")
        return str(conf.word)

    def prove(self, *, anew: bool = False) -> str:
        word = self.read(anew=anew)
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
    before = cfg.ConfigParser.parse
    world.read()
    assert cfg.ConfigParser.parse is before

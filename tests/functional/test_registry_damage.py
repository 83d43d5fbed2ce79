"""Databases that cannot be used: one sentence, the right kind of error, and nothing lost."""

import multiprocessing
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from launcher.errors import DatabaseUnavailable, DatabaseUnusable, ServiceNotFound
from launcher.registry.engine import open_registry
from launcher.registry.interface import Registry
from launcher.registry.records import ServiceState
from launcher.registry.schema import NEEDED

NOBODY = 65534  # uid and gid that own nothing
_fork = multiprocessing.get_context("fork")


def open_at(path: Path) -> Registry:
    return open_registry(f"sqlite:///{path}")


def register(registry: Registry, host: str = "host") -> int:
    return registry.register_service(host, "b", topic="t", version="1", workers=1).id


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    """A database with a few pages of rows, closed."""
    path = tmp_path / "launcher.sqlite"
    registry = open_at(path)
    for number in range(50):
        register(registry, f"host-{number}" + "x" * 200)
    registry.close()
    return path


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that another uid can get at, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def refusal(path: Path) -> str:
    """The sentence, after a look that it is one, names the file and has a cause to be found."""
    with pytest.raises(DatabaseUnusable) as caught:
        open_at(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert str(path) in sentence
    return sentence


def refusal_as_nobody(path: Path) -> str:
    """The sentence as another uid meets it; who is not root cannot write there anyway."""
    results = _fork.Queue()

    def look() -> None:
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        try:
            open_at(path)
            results.put("opened")
        except DatabaseUnusable as error:
            results.put(str(error))

    process = _fork.Process(target=look)
    process.start()
    try:
        return str(results.get(timeout=30))
    finally:
        process.join()


def give_to_nobody(*paths: Path) -> None:
    """Else root's directory is refused before anybody looks at what may be written there."""
    if os.geteuid() == 0:
        for path in paths:
            os.chown(path, NOBODY, NOBODY)


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def overwrite_index(path: Path) -> None:
    """Spoil the first page of the index that keeps (host, binary) unique."""
    with closing(sqlite3.connect(path)) as connection:
        query = "SELECT rootpage FROM sqlite_master WHERE tbl_name = 'services' AND type = 'index'"
        (page,) = connection.execute(query).fetchone()
    overwrite(path, (page - 1) * 4096 + 8, bytes(4000))


def cut(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a letter": lambda path: path.write_text("Dear database,\n"),
    "one byte": lambda path: path.write_bytes(b"S"),
    "noise": lambda path: path.write_bytes(bytes(range(256)) * 64),
    "noise behind the right beginning": lambda path: overwrite(path, 100, b"\xff" * 3000),
    "noise in a later page": lambda path: overwrite(path, 8192, b"\xa5" * 4096),
    "a row without its index entry": overwrite_index,
    "beginning cut off": lambda path: path.write_bytes(path.read_bytes()[512:]),
    **{f"cut to {size} bytes": cut(size) for size in (15, 99, 100, 511, 4095, 4096, 8192, 20000)},
    "a byte short": lambda path: os.truncate(path, path.stat().st_size - 1),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused_and_left_as_it_is(
    whole: Path, damage: Callable[[Path], object]
) -> None:
    damage(whole)
    before = whole.read_bytes()

    sentence = refusal(whole)

    assert re.search("is damaged .* move the file away, .* or restore a backup", sentence)
    assert whole.read_bytes() == before


def test_a_damaged_file_with_a_log_beside_it_is_left_as_it_is(whole: Path) -> None:
    """The service was killed, so its log is still there; closing must not carry it over."""

    def die() -> None:
        register(open_at(whole), "the last words")
        os._exit(0)

    process = _fork.Process(target=die)
    process.start()
    process.join()
    log = whole.with_name(whole.name + "-wal")
    os.truncate(whole, 12288)
    before = whole.read_bytes(), log.read_bytes()
    assert before[1], "the test wants a log that is not empty"

    refusal(whole)

    assert (whole.read_bytes(), log.read_bytes()) == before


def test_a_killed_service_leaves_a_database_that_opens(whole: Path) -> None:
    def die() -> None:
        register(open_at(whole), "the last words")
        os._exit(0)

    process = _fork.Process(target=die)
    process.start()
    process.join()

    assert open_at(whole).get_service("the last words", "b") is not None


def test_a_write_that_was_interrupted_is_undone_at_the_next_open(whole: Path) -> None:
    """Without a write-ahead log, the journal of a killed writer has to be rolled back first,
    which a reader may not do: the check before the open must not stumble over it."""
    journal = whole.with_name(whole.name + "-journal")

    def die() -> None:
        connection = sqlite3.connect(whole, isolation_level=None)
        connection.execute("PRAGMA journal_mode=DELETE")
        connection.execute("PRAGMA cache_size=1")  # so that it spills before the commit
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE services SET topic = 'half done'")
        os._exit(0)

    process = _fork.Process(target=die)
    process.start()
    process.join()
    assert journal.stat().st_size > 0, "the test wants a hot journal"

    assert {row.topic for row in open_at(whole).list_services()} == {"t"}


def test_damage_that_comes_later_is_the_same_sentence(whole: Path) -> None:
    registry = open_at(whole)
    overwrite(whole, 4096, b"\xa5" * (whole.stat().st_size - 4096))

    with pytest.raises(DatabaseUnusable, match=r"is damaged .* restore a backup"):
        registry.list_services()


def test_an_empty_file_is_a_new_database(tmp_path: Path) -> None:
    path = tmp_path / "launcher.sqlite"
    path.touch()

    assert register(open_at(path)) == 1


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "theirs.sqlite"
    theirs = sqlite3.connect(path)
    theirs.execute("CREATE TABLE services (name TEXT)")
    theirs.close()
    before = path.read_bytes()

    assert "belongs to another program" in refusal(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_left_alone(whole: Path) -> None:
    later = sqlite3.connect(whole)
    later.execute("UPDATE alembic_version SET version_num = '0007_from_0006'")
    later.commit()
    later.close()
    before = whole.read_bytes()

    told = f"is 0007_from_0006 and this program needs {NEEDED}; upgrade"
    assert told in refusal(whole)
    assert whole.read_bytes() == before


def test_a_directory_is_no_database(tmp_path: Path) -> None:
    assert "is no regular file" in refusal(tmp_path)


def test_a_pipe_is_no_database(tmp_path: Path) -> None:
    """Opening one could wait for ever."""
    os.mkfifo(tmp_path / "pipe")

    assert "is no regular file" in refusal(tmp_path / "pipe")


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    sentence = refusal(tmp_path / "missing" / "launcher.sqlite")

    assert re.search(rf"there is no directory {tmp_path}/missing .*; create it$", sentence)
    assert not (tmp_path / "missing").exists()


def test_a_file_in_place_of_the_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert "there is no directory" in refusal(tmp_path / "file" / "launcher.sqlite")


def test_a_directory_that_may_not_be_written_is_named(open_directory: Path) -> None:
    open_directory.chmod(0o555)
    give_to_nobody(open_directory)

    sentence = refusal_as_nobody(open_directory / "launcher.sqlite")

    assert re.search(rf"directory {open_directory} may not be written by uid \d+$", sentence)


def test_a_directory_that_may_not_be_entered_is_named(open_directory: Path) -> None:
    (open_directory / "closed").mkdir(mode=0)
    give_to_nobody(open_directory, open_directory / "closed")

    sentence = refusal_as_nobody(open_directory / "closed" / "launcher.sqlite")

    assert f"directory {open_directory}/closed may not be written by uid" in sentence


@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_a_file_that_may_not_be_written_is_named(
    whole: Path, open_directory: Path, mode: int
) -> None:
    path = open_directory / "launcher.sqlite"
    shutil.copy(whole, path)
    path.chmod(mode)
    give_to_nobody(open_directory, path)
    before = path.read_bytes() if mode else None

    sentence = refusal_as_nobody(path)

    assert re.search(rf"{path} may not be (read and )?written by uid \d+$", sentence)
    assert before is None or path.read_bytes() == before


def test_a_file_that_is_locked_too_long_is_away_not_broken(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launcher.registry.sqlite._BUSY_SECONDS", 0.01)
    registry = open_at(whole)
    other = sqlite3.connect(whole, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(DatabaseUnavailable, match="cannot be reached: database is locked"):
            register(registry)
    finally:
        other.execute("ROLLBACK")
    assert register(registry) > 50


def test_a_file_removed_under_a_running_service_is_made_anew(whole: Path) -> None:
    """Else every report would go into a file that no one else can see."""
    registry = open_at(whole)
    register(registry)
    for file in whole.parent.glob("launcher.sqlite*"):
        file.unlink()

    with pytest.raises(ServiceNotFound):
        registry.report_service("host", "b", state=ServiceState.UP, workers=1, workers_serving=1)
    register(registry)
    assert [row.host for row in open_at(whole).list_services()] == ["host"]
